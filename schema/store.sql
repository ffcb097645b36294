-- The state of one host. Run once, in one transaction, when the file is new.
CREATE TABLE relationship (
    vm_uuid TEXT NOT NULL, idx INTEGER NOT NULL,
    mode INTEGER NOT NULL, state INTEGER NOT NULL, resume_state INTEGER NOT NULL,
    vm_name TEXT, lineage TEXT, settings TEXT, peer TEXT, folder TEXT,
    initial_complete INTEGER NOT NULL,
    position INTEGER NOT NULL, digest BLOB NOT NULL,
    applied INTEGER NOT NULL, applied_digest BLOB NOT NULL,
    checkpoint TEXT, pass_token TEXT, resync_passes INTEGER NOT NULL,
    last_kind INTEGER NOT NULL, failed_over_kind INTEGER NOT NULL,
    last_replication_usec INTEGER NOT NULL, last_apply_usec INTEGER NOT NULL,
    last_application_consistent_usec INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL, failover_point TEXT, blob_hash TEXT, declared_bytes INTEGER NOT NULL,
    statistics TEXT,
    test_uuid TEXT, test_point TEXT, test_stage INTEGER NOT NULL, start_usec INTEGER NOT NULL,
    guest_todo INTEGER NOT NULL,
    export_folder TEXT, exported INTEGER NOT NULL,
    PRIMARY KEY (vm_uuid, idx)
) STRICT;

CREATE TABLE point (
    id TEXT PRIMARY KEY, vm_uuid TEXT NOT NULL, position INTEGER NOT NULL,
    kind INTEGER NOT NULL, kept INTEGER NOT NULL, hourly INTEGER NOT NULL, taken_usec INTEGER NOT NULL,
    running_usec INTEGER NOT NULL,
    UNIQUE (vm_uuid, position)
) STRICT;

CREATE TABLE undo (
    vm_uuid TEXT NOT NULL, position INTEGER NOT NULL, base INTEGER NOT NULL, pass INTEGER NOT NULL,
    digest BLOB NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (vm_uuid, base, pass)
) STRICT;

-- What guests get on their network adapters after a failover.
CREATE TABLE adapter (vm_uuid TEXT NOT NULL, mac TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (vm_uuid, mac)) STRICT;

CREATE TABLE entry (
    allowed_primary TEXT PRIMARY KEY COLLATE NOCASE, trust_group TEXT, storage_location TEXT,
    additional_settings TEXT
) STRICT;

-- A replica that is being made or dropped: noted before anything of it is there or goes. What a crash leaves of it is removed later,
-- by these names. A VM has a row here or one as a replica above, never both.
CREATE TABLE unfinished (vm_uuid TEXT PRIMARY KEY, folder TEXT NOT NULL, token TEXT NOT NULL) STRICT;
CREATE TRIGGER replica_finished AFTER INSERT ON relationship WHEN NEW.mode IN (2, 4) BEGIN
    DELETE FROM unfinished WHERE vm_uuid = NEW.vm_uuid;
END;

CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT) STRICT;

CREATE TABLE vm (uuid TEXT PRIMARY KEY, created_usec INTEGER NOT NULL) STRICT;
