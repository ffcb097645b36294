#include "cli/commands.h"

#include <string.h>

const CommandOption command_common_options[] = {
    { "connect", 'c', "URI", "the service: unix:///PATH or wsman+https://USER@HOST[:PORT]" },
    { "ca", 0, "FILE", "trust these certificate authorities only (https)" },
    { "quiet", 'q', NULL, "print errors and what was asked for, nothing else" },
    { "help", 'h', NULL, "show this help" },
    { NULL },
};

static const CommandOption json_options[] = {
    { "json", 0, NULL, "print JSON" },
    { NULL },
};

static const CommandOption detach_options[] = {
    { "detach", 0, NULL, "do not wait for the end of the job" },
    { NULL },
};

static const CommandOption enable_options[] = {
    { "to", 0, "HOST", "the replica server; required" },
    { "port", 0, "N", "its port (8443)" },
    { "interval", 0, "SEC", "seconds from one replication to the next (300)" },
    { "history", 0, "N", "hourly recovery points to keep, 0 to 24 (0)" },
    { "journal", 0, "DURATION", "keep every replication of that long as a point: 30m, 4h" },
    { "consistent", 0, "DURATION", "make an application-consistent point that often, through the guest's agent: 30m, 4h" },
    { "resync", 0, "WHEN", "resynchronize by itself: auto, manual, or hours such as 22:00-06:00 (auto)" },
    { "disks", 0, "LIST", "only these disks: vda,vdb" },
    { "no-compression", 0, NULL, "send data as it is" },
    { NULL },
};

static const CommandOption modify_options[] = {
    { "to", 0, "HOST", "the name that the replica server has now" },
    { "port", 0, "N", "its port" },
    { "interval", 0, "SEC", "seconds from one replication to the next" },
    { "history", 0, "N", "hourly recovery points to keep, 0 to 24" },
    { "journal", 0, "DURATION", "keep every replication of that long as a point: 30m, 4h; 0 for none" },
    { "consistent", 0, "DURATION", "make an application-consistent point that often: 30m, 4h; 0 for none" },
    { "resync", 0, "WHEN", "resynchronize by itself: auto, manual, or hours such as 22:00-06:00" },
    { "include", 0, "LIST", "replicate these disks, too: vdb,vdc" },
    { "exclude", 0, "LIST", "do not replicate these disks any more" },
    { NULL },
};

static const CommandOption reverse_options[] = {
    { "to", 0, "HOST", "the host that becomes the replica server (the former primary)" },
    { "port", 0, "N", "its port (8443)" },
    { NULL },
};

static const CommandOption planned_options[] = {
    { "replica", 0, "URI", "the service on the replica's host: wsman+https://HOST; required" },
    { "replica-ca", 0, "FILE", "certificate authorities for it" },
    { "to", 0, "HOST", "the primary's name as a replica server" },
    { "port", 0, "N", "its port (8443)" },
    { "timeout", 0, "SEC", "how long the guest may take to shut down (120)" },
    { "no-start", 0, NULL, "do not start the VM" },
    { "no-reverse", 0, NULL, "do not reverse the replication" },
    { "dry-run", 0, NULL, "check both hosts and say what would be done" },
    { NULL },
};

static const CommandOption copy_options[] = {
    { "at", 0, "TIME", "begin at that time, within 7 days: 22:00, '2026-05-01 22:00' or +8h" },
    { NULL },
};

static const CommandOption first_copy_options[] = {
    { "seeded", 0, NULL, "compare with the images that the replica was made of, and send what differs" },
    { "export", 0, "DIR", "write the copy into a new folder in DIR, for import-initial on the replica server" },
    { NULL },
};

static const CommandOption failover_options[] = {
    { "point", 0, "POINT", "go to this recovery point (see 'points'), not to the latest" },
    { "at", 0, "TIME", "go to the newest point taken at TIME or before" },
    { "start", 0, NULL, "start the VM when that is complete" },
    { NULL },
};

static const CommandOption network_options[] = {
    { "adapter", 0, "ADAPTER", "which one, by its number or MAC address; needed where there are several" },
    { "ip", 0, "LIST", "its addresses: 10.0.0.5/24,fd00::5/64" },
    { "gateway", 0, "LIST", "its gateways: 10.0.0.1,fe80::1" },
    { "dns", 0, "LIST", "its name servers" },
    { "dhcp", 0, NULL, "IPv4 by DHCP" },
    { "clear", 0, NULL, "let the guest keep what it has" },
    { "test-network", 0, "NETWORK", "where the VM of a test is connected: a network of libvirt, or bridge/NAME; 'none' for nowhere" },
    { NULL },
};

static const CommandOption stop_options[] = {
    { "force", 0, NULL, "cut the power, do not ask the guest" },
    { NULL },
};

static const CommandOption timeout_options[] = {
    { "timeout", 0, "SEC", "how long to wait for the guest (120)" },
    { NULL },
};

static const CommandOption extended_options[] = {
    { "extended", 0, NULL, "of a replica: its replication to a third host" },
    { NULL },
};

static const CommandOption statistics_options[] = {
    { "reset", 0, NULL, "count from zero again, as from now" },
    { NULL },
};

static const CommandOption jobs_options[] = {
    { "wait", 0, NULL, "wait for the end of the job" },
    { NULL },
};

static const CommandOption server_options[] = {
    { "enable", 0, NULL, "accept replication from authorized hosts" },
    { "disable", 0, NULL, "accept no replication" },
    { NULL },
};

static const CommandOption authorize_options[] = {
    { "storage", 0, "DIR", "folder for the replicas of that host; required, but with --change" },
    { "trust-group", 0, "GROUP", "hosts of one group may pass a VM among them (DEFAULT)" },
    { "max-vms", 0, "N", "how many replica VMs it may have here; 'none' for no limit" },
    { "max-size", 0, "SIZE", "how large all their disks may be in all, such as 2T; 'none' for no limit" },
    { "max-staging", 0, "SIZE", "how much may wait here to be applied, such as 50G; 'none' for no limit" },
    { "change", 0, NULL, "change what is given here of the authorization that is there" },
    { NULL },
};

#define OPTIONS(...) ((const CommandOption *const[]){ __VA_ARGS__, NULL })
#define READING      OPTIONS(json_options)
#define WORKING      OPTIONS(detach_options)

static const Command table[] = {
    { "list", NULL, 0, 0, "List the VMs of the host and their replication.", READING, command_list },
    { "status", "VM", 1, 1, "Show the replication of one VM.", OPTIONS(extended_options, json_options), command_status },
    { "statistics", "VM", 1, 1, "Show what was counted since the last boundary, or begin anew.", OPTIONS(statistics_options, extended_options, json_options),
      command_statistics },
    { "points", "VM", 1, 1, "List the recovery points of a replica, oldest first.", READING, command_points },
    { "jobs", "[JOB]", 0, 1, "List running and recent jobs, or show one.", OPTIONS(jobs_options, json_options), command_jobs },

    { "enable", "VM", 1, 1, "Enable replication of a VM, or of a replica to a third host; start-initial then copies it.",
      OPTIONS(enable_options, detach_options), command_enable },
    { "modify", "VM", 1, 1, "Change the settings of replication, on the primary; what is not given stays.",
      OPTIONS(modify_options, extended_options, detach_options), command_modify },
    { "start-initial", "VM", 1, 1, "Copy the VM to the replica server and keep replicating.",
      OPTIONS(first_copy_options, copy_options, detach_options), command_start_initial },
    { "import-initial", "VM DIR", 2, 2, "Take the first copy of a replica from a folder that start-initial --export wrote.",
      WORKING, command_import_initial },
    { "suspend", "VM", 1, 1, "Suspend replication.",
      OPTIONS(extended_options, detach_options), command_suspend },
    { "resume", "VM", 1, 1, "Resume replication that is suspended or critical, or try a failed change of disks again.",
      OPTIONS(extended_options, detach_options), command_resume },
    { "cancel", "VM", 1, 1, "Cancel the first copy, the resynchronization or the change of disks under way.",
      OPTIONS(extended_options, detach_options), command_cancel },
    { "resync", "VM", 1, 1, "Compare both sides and send what differs; recovery points stay.", OPTIONS(copy_options, detach_options),
      command_resync },
    { "remove", "VM", 1, 1, "Remove replication of a VM on this host; the other host keeps its part until it is removed there.",
      OPTIONS(extended_options, detach_options), command_remove },

    { "planned-failover", "VM", 1, 1, "Move a VM to its replica's host: shut down, prepare, fail over, start, reverse.",
      OPTIONS(planned_options), command_planned_failover },
    { "prepare", "VM", 1, 1, "Prepare a planned failover: send the last changes of a VM that is off, and lock it.",
      OPTIONS(extended_options, detach_options), command_prepare },
    { "failover", "VM", 1, 1, "Fail a replica over, to its latest or to an older recovery point.",
      OPTIONS(failover_options, detach_options), command_failover },
    { "failover-network", "VM", 1, 1, "Show or set the addresses that the guest gets after a failover, and the network of tests.",
      OPTIONS(network_options, json_options), command_failover_network },
    { "test", "VM", 1, 1, "Make a second VM of a recovery point, to try it out beside; replication goes on.",
      OPTIONS(failover_options, detach_options), command_test },
    { "test-end", "VM", 1, 1, "End the test of a replica: its second VM is turned off and removed.", WORKING,
      command_test_end },
    { "revert", "VM", 1, 1, "Take a failover back: what the VM wrote since is dropped, replication goes on.", WORKING,
      command_revert },
    { "commit", "VM", 1, 1, "Make a failover final: what the VM wrote is its disk, recovery points go.", WORKING, command_commit },
    { "continue", "VM", 1, 1, "Make a replica whose failover is committed the primary of its third host.", WORKING, command_continue },
    { "reverse", "VM", 1, 1, "Make a failed-over VM the primary, and the former primary its replica.",
      OPTIONS(reverse_options, detach_options), command_reverse },
    { "as-replica", "VM", 1, 1, "Let a VM that is off become a replica: of its failed-over replica, or of a primary that comes.", WORKING,
      command_as_replica },
    { "start", "VM", 1, 1, "Start a VM.", WORKING, command_start },
    { "stop", "VM", 1, 1, "Stop a VM: ask the guest to shut down, or cut its power.",
      OPTIONS(stop_options, timeout_options, detach_options), command_stop },
    { "shutdown", "VM", 1, 1, "Ask the guest to shut down, and wait until it is off.", OPTIONS(timeout_options, detach_options),
      command_shutdown },

    { "server", NULL, 0, 0, "Show the settings of the replica server, or switch it on or off.",
      OPTIONS(server_options, json_options), command_server },
    { "authorize", "HOST", 1, 1, "Allow a primary host to replicate to this one; HOST may be *.DOMAIN.",
      OPTIONS(authorize_options), command_authorize },
    { "unauthorize", "HOST", 1, 1, "Withdraw the authorization of a primary host.", NULL, command_unauthorize },
    { "entries", NULL, 0, 0, "List the primary hosts that are authorized.", READING, command_entries },
    { "version", NULL, 0, 0, "Show the versions of this program and of the service.", READING, command_version },
    { NULL },
};

const Command *
commands_table(void)
{
    return table;
}

const Command *
commands_find(const char *name)
{
    for (const Command *command = table; command->name != NULL; command++) {
        if (g_str_equal(command->name, name))
            return command;
    }
    return NULL;
}
