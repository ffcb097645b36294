# bash completion for virt-replica(1)

_virt_replica_vms() {
    virt-replica "$@" list --json 2>/dev/null | sed -n 's/^ *"name" : "\(.*\)",$/\1/p'
}

_virt_replica_options() {
    case $1 in
    list | points | entries | version) echo --json ;;
    status) echo --extended --json ;;
    jobs) echo --json --wait ;;
    statistics) echo --json --extended --reset ;;
    enable) echo --to --port --interval --history --journal --consistent --resync --disks --no-compression --detach ;;
    modify) echo --extended --to --port --interval --history --journal --consistent --resync --include --exclude --detach ;;
    start-initial) echo --seeded --export --at --detach ;;
    suspend | resume | cancel | remove | prepare) echo --extended --detach ;;
    import-initial | revert | commit | continue | as-replica | start | test-end) echo --detach ;;
    resync) echo --at --detach ;;
    reverse) echo --to --port --detach ;;
    planned-failover) echo --replica --replica-ca --to --port --timeout --no-start --no-reverse --dry-run ;;
    failover-network) echo --adapter --ip --gateway --dns --dhcp --clear --test-network --json ;;
    failover | test) echo --point --at --start --detach ;;
    stop) echo --force --timeout --detach ;;
    shutdown) echo --timeout --detach ;;
    server) echo --enable --disable --json ;;
    authorize) echo --storage --trust-group --max-vms --max-size --max-staging --change ;;
    esac
}

_virt_replica() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= connect=() i
    local commands="list status statistics points jobs enable modify start-initial import-initial suspend resume cancel resync remove planned-failover prepare failover failover-network test test-end revert commit continue reverse as-replica start stop shutdown
        server authorize unauthorize entries version"
    local common="--connect --ca --quiet --help"

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -c | --connect) connect=(-c "${COMP_WORDS[i + 1]}"); ((i++)) ;;
        --ca) ((i++)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $previous in
    --ca) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    --storage) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$common $(_virt_replica_options "$command")" -- "$current")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
    else
        case $command in
        status | statistics | points | enable | modify | start-initial | import-initial | suspend | resume | cancel | resync | remove | planned-failover | prepare | failover | failover-network | test | test-end | revert | commit | continue | reverse | as-replica | start | stop | shutdown)
            mapfile -t COMPREPLY < <(compgen -W "$(_virt_replica_vms "${connect[@]}")" -- "$current") ;;
        esac
    fi
}

complete -F _virt_replica virt-replica
