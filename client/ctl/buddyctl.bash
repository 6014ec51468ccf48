# Completion of buddyctl for bash.

# Ids and offsets that the running daemon knows; nothing while there is none.
_buddyctl_ids() {
        buddyctl "$@" clients --json 2>/dev/null |
                tr '{' '\n' | sed -n 's/^"id":\([0-9]*\),.*/\1/p'
}

_buddyctl_offsets() {
        buddyctl "$@" ranges --client 1 --json 2>/dev/null |
                tr '{' '\n' | sed -n 's/^"offset":\([0-9]*\),.*/\1/p'
}

# The names that may follow the last comma of a list of columns.
_buddyctl_columns() { # COMMAND LIST
        local names= before=${2%"${2##*,}"}
        case $1 in
        stats)
                names='pool backing page size capacity held cached free largest resident clients waiters orphans restarts uptime
                        allocs frees hits requested granted no-space quota reclaimed oldest waste fragmentation allocs/s frees/s
                        hits/s granted/s'
                ;;
        orders) names='order block free held unusable fragmentation' ;;
        clients) names='id name pid uid held ranges cached waiting since access' ;;
        ranges) names='offset length generation age holders' ;;
        esac
        compgen -P "$before" -W "$names" -- "${2##*,}"
}

_buddyctl() {
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
        local command= word i
        local -a connection=()
        COMPREPLY=()

        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                case $word in
                --socket | --pool)
                        ((i + 1 < COMP_CWORD)) && connection+=("$word" "${COMP_WORDS[i + 1]}")
                        ((i++))
                        ;;
                --watch | --sort | --client | --seconds | --uid | --by | --width | --svg | --columns | -o | --textfile | --listen | --format)
                        ((i++))
                        ;;
                -*) ;;
                *)
                        [[ -z $command ]] && command=$word
                        ;;
                esac
        done

        case $previous in
        --socket | --svg | --textfile)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        --sort)
                mapfile -t COMPREPLY < <(compgen -W 'id name pid uid held cached waiting' -- "$current")
                return
                ;;
        --client)
                mapfile -t COMPREPLY < <(compgen -W "$(_buddyctl_ids "${connection[@]}")" -- "$current")
                return
                ;;
        --uid)
                mapfile -t COMPREPLY < <(compgen -W "$(cut -d: -f3 /etc/passwd 2>/dev/null)" -- "$current")
                return
                ;;
        --by)
                mapfile -t COMPREPLY < <(compgen -W 'share client' -- "$current")
                return
                ;;
        -o | --columns)
                mapfile -t COMPREPLY < <(_buddyctl_columns "$command" "$current")
                return
                ;;
        --format)
                mapfile -t COMPREPLY < <(compgen -W 'openmetrics prometheus' -- "$current")
                return
                ;;
        --pool | --watch | --seconds | --width | --listen)
                return
                ;;
        esac

        local options='--socket --pool --help --version'
        case $command in
        '')
                [[ $current != -* ]] && options='ping stats map orders clients ranges top alloc free kick drain trim grow check metrics bench'
                ;;
        stats) options+=' --json --watch --bytes --columns' ;;
        map) options+=' --json --by --width --svg --bytes' ;;
        top) options+=' --watch --sort --by' ;;
        orders) options+=' --json --bytes --columns' ;;
        clients) options+=' --json --sort --bytes --columns' ;;
        ranges) options+=' --json --client --bytes --columns' ;;
        drain) options+=' --json --off --wait --wait=' ;;
        check) options+=' --json --offline --uid' ;;
        metrics) options+=' --textfile --listen --format' ;;
        bench) options+=' --json --seconds --unpinned' ;;
        *) options+=' --json' ;;
        esac
        if [[ $command == free && $current != -* ]]; then
                options=$(_buddyctl_offsets "${connection[@]}")
        fi
        if [[ $command == kick && $current != -* ]]; then
                options=$(_buddyctl_ids "${connection[@]}")
        fi
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}
complete -F _buddyctl buddyctl
