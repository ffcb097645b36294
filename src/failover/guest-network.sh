# Sets the addresses of one network device inside a Linux guest, so that they stay: run there by sh through the guest's agent, as root.
#
# Words: device=eth0 mac=52:54:00:00:00:01 ipv4=static|dhcp|keep ipv6=static|keep, then any number of address=10.0.0.5/24,
# gateway=10.0.0.1 and dns=10.0.0.2. Whoever manages the device in the guest is told: systemd-networkd, NetworkManager, ifupdown, and where
# there is nobody the kernel, until the guest restarts. Running it again with other words is fine. The last line says who was told.
# In tests VR_ROOT stands before all paths.

main() {
    root=${VR_ROOT:-} device='' mac='' ipv4=keep ipv6=keep addresses='' gateways='' dns=''
    PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
    LC_ALL=C
    export PATH LC_ALL
    for word in "$@"; do
        value=${word#*=}
        case $word in
        device=*) device=$value ;;
        mac=*) mac=$value ;;
        ipv4=*) ipv4=$value ;;
        ipv6=*) ipv6=$value ;;
        address=*) addresses="$addresses $value" ;;
        gateway=*) gateways="$gateways $value" ;;
        dns=*) dns="$dns $value" ;;
        esac
    done
    for way in networkd networkmanager ifupdown kernel; do
        "is_$way" || continue
        "set_$way" || { echo "$way could not set the addresses of $device" >&2; return 1; }
        echo "$way"
        return 0
    done
}

has() {
    command -v "$1" >/dev/null 2>&1
}

is_active() {
    has systemctl && systemctl is-active --quiet "$1"
}

# of FAMILY WORD...: the words of that family, 4 or 6
of() {
    family=$1
    shift
    for one in "$@"; do
        case $one in
        *:*) [ "$family" = 4 ] || printf '%s ' "$one" ;;
        *) [ "$family" = 6 ] || printf '%s ' "$one" ;;
        esac
    done
}

first() {
    set -- $1
    echo "${1:-}"
}

# Name servers where nobody else writes /etc/resolv.conf: a link belongs to somebody.
write_resolv() {
    file=$root/etc/resolv.conf
    [ -n "$dns" ] && [ ! -L "$file" ] && ! has resolvconf || return 0
    {
        [ ! -f "$file" ] || grep -v '^nameserver' "$file"
        for server in $dns; do echo "nameserver $server"; done
    } >"$file.virt-replica" && cat "$file.virt-replica" >"$file"
    rm -f "$file.virt-replica"
}

# ---- systemd-networkd ----

is_networkd() {
    has networkctl && is_active systemd-networkd || return 1
    case $(networkctl list --no-legend "$device" 2>/dev/null) in
    '' | *unmanaged*) return 1 ;;
    esac
}

# Our file comes before all others for the device. With IPv4 as it is, we only add to the file that there is.
set_networkd() {
    folder=$root/etc/systemd/network
    file=$folder/00-virt-replica-$device.network
    used=$(networkctl status "$device" 2>/dev/null | sed -n 's/^ *Network File: *//p')
    case $ipv4$used in
    keep*/00-virt-replica-*) ;;
    keep/*) file=$folder/${used##*/}.d/virt-replica.conf ;;
    esac
    mkdir -p "${file%/*}" || return
    {
        echo '# Written by virt-replica after a failover'
        case $file in *.network) printf '[Match]\nName=%s\nMACAddress=%s\n\n' "$device" "$mac" ;; esac
        echo '[Network]'
        case $ipv4 in static) echo DHCP=no ;; dhcp) echo DHCP=ipv4 ;; esac
        for one in $addresses; do echo "Address=$one"; done
        for one in $gateways; do echo "Gateway=$one"; done
        for one in $dns; do echo "DNS=$one"; done
    } >"$file" || return
    chmod 644 "$file"
    is_active systemd-resolved || write_resolv
    networkctl reload && networkctl reconfigure "$device" || systemctl restart systemd-networkd
}

# ---- NetworkManager ----

is_networkmanager() {
    has nmcli || return 1
    case $(nmcli -g GENERAL.STATE device show "$device" 2>/dev/null) in
    '' | 10 | '10 '*) return 1 ;; # 10 (unmanaged)
    esac
}

# The profile that there is stays; ours, made from it, goes before it.
set_networkmanager() {
    ours="virt-replica $device"
    if ! nmcli connection show "$ours" >/dev/null 2>&1; then
        theirs=$(nmcli -g GENERAL.CONNECTION device show "$device" 2>/dev/null)
        case $theirs in
        '' | --) nmcli connection add type ethernet con-name "$ours" ifname "$device" >/dev/null ;;
        *) nmcli connection clone "$theirs" "$ours" >/dev/null ;;
        esac || return
    fi
    nmcli connection modify "$ours" connection.interface-name "$device" connection.autoconnect yes \
        connection.autoconnect-priority 900 || return
    case $ipv4 in
    static) set_profile ipv4 manual 4 ;;
    dhcp) set_profile ipv4 auto 4 ;;
    esac || return
    [ "$ipv6" != static ] || set_profile ipv6 manual 6 || return
    nmcli connection up "$ours" >/dev/null
}

set_profile() {
    nmcli connection modify "$ours" "$1.method" "$2" "$1.addresses" "$(of "$3" $addresses | sed 's/ $//; s/ /,/g')" \
        "$1.gateway" "$(first "$(of "$3" $gateways)")" "$1.dns" "$(of "$3" $dns | sed 's/ $//')"
}

# ---- ifupdown ----

is_ifupdown() {
    has ifup && [ -f "$root/etc/network/interfaces" ]
}

set_ifupdown() {
    families=
    [ "$ipv4" = keep ] || families="$families inet"
    [ "$ipv6" = keep ] || families="$families inet6"
    options=$(cat "$root"/etc/network/interfaces "$root"/etc/network/interfaces.d/* 2>/dev/null | device_options)
    ifdown --force "$device" >/dev/null 2>&1
    # What the kernel or a client of DHCP left of addresses that ifupdown does not know
    [ "$ipv4" = keep ] || ip -4 addr flush dev "$device" scope global 2>/dev/null
    [ "$ipv6" = keep ] || ip -6 addr flush dev "$device" scope global 2>/dev/null
    for file in "$root"/etc/network/interfaces "$root"/etc/network/interfaces.d/*; do
        [ ! -f "$file" ] || drop_stanzas "$file" || return
    done
    {
        grep -qsE "^[[:space:]]*(auto|allow-hotplug)[[:space:]]+(.*[[:space:]])?$device([[:space:]]|\$)" \
            "$root/etc/network/interfaces" "$root"/etc/network/interfaces.d/* || echo "auto $device"
        case $ipv4 in
        static) stanzas inet 4 ;;
        dhcp)
            echo "iface $device inet dhcp"
            [ -z "$options" ] || echo "$options"
            ;;
        esac
        [ "$ipv6" != static ] || stanzas inet6 6
    } >>"$root/etc/network/interfaces" || return
    write_resolv
    ifup --force "$device" >&2
}

# Takes the stanzas of the device out of a file; what it was before we first did so is kept beside.
drop_stanzas() {
    kept=$root/etc/network/before-virt-replica
    mkdir -p "$kept" || return
    [ -e "$kept/${1##*/}" ] || cp "$1" "$kept/" || return
    awk -v device="$device" -v families="$families " '
        $1 == "iface" { skip = $2 == device && index(families, " " $3 " ") }
        $1 ~ /^(auto|allow-.*|mapping|source|source-directory|rename|template|no-.*)$/ { skip = 0 }
        !skip' "$1" >"$kept/.new" && { cmp -s "$kept/.new" "$1" || cat "$kept/.new" >"$1"; }
    status=$?
    rm -f "$kept/.new"
    return $status
}

# What of the stanzas of the device makes it what it is, such as a bridge: that stays.
device_options() {
    awk -v device="$device" -v families="$families " '
        $1 == "iface" { ours = $2 == device && index(families, " " $3 " ") }
        $1 ~ /^(auto|allow-.*|mapping|source|source-directory|rename|template|no-.*)$/ { ours = 0 }
        ours && $1 ~ /^((bridge|bond|vlan|wpa)[-_].*|slaves|mtu|hwaddress|metric)$/ && !seen[$0]++'
}

# stanzas FAMILY 4|6: one for each address; gateway, name servers and what else there is are in the first
stanzas() {
    more=$options gateway=$(first "$(of "$2" $gateways)") servers=$(of "$2" $dns)
    for address in $(of "$2" $addresses); do
        printf 'iface %s %s static\n    address %s\n' "$device" "$1" "$address"
        [ -z "$gateway" ] || printf '    gateway %s\n' "$gateway"
        [ -z "$servers" ] || printf '    dns-nameservers %s\n' "${servers% }"
        [ -z "$more" ] || printf '%s\n' "$more"
        gateway='' servers='' more=''
    done
}

# ---- the kernel ----

is_kernel() {
    true
}

set_kernel() {
    ip link set dev "$device" up || return
    [ "$ipv4" = keep ] || ip -4 addr flush dev "$device" scope global || return
    [ "$ipv6" = keep ] || ip -6 addr flush dev "$device" scope global || return
    for one in $addresses; do ip addr add "$one" dev "$device" || return; done
    for one in $gateways; do
        case $one in
        *:*) ip -6 route replace default via "$one" dev "$device" ;;
        *) ip route replace default via "$one" dev "$device" ;;
        esac || return
    done
    if is_active systemd-resolved; then
        [ -z "$dns" ] || resolvectl dns "$device" $dns
    else
        write_resolv
    fi
    [ "$ipv4" != dhcp ] || ask_dhcp
}

ask_dhcp() {
    if has dhclient; then
        dhclient -1 "$device" >&2
    elif has dhcpcd; then
        dhcpcd -4 -w "$device" >&2
    elif has udhcpc; then
        udhcpc -q -n -i "$device" >&2
    else
        echo "no client of DHCP is installed" >&2
        return 1
    fi
}

main "$@" </dev/null
