# Completion of buddyctl for bash. Commands, options and what they take come from the tool's own help, so there is
# nothing here to keep up to date; ids, offsets and pools come from the running daemon, and there are none without one.

# What stands for a value in the help decides which values there are.
_buddyctl_values() { # PLACEHOLDER HELP-OF-THE-OPTION BUDDYCTL...
        local placeholder=$1 words=$2
        shift 2
        case $placeholder in
        NAME | POOL)
                "$@" metrics 2>/dev/null | sed -n 's/.*[{,]pool="\([^"]*\)".*/\1/p' | sort -u
                ;;
        ID)
                "$@" clients --json 2>/dev/null | tr '{' '\n' | sed -n 's/^"id":\([0-9]*\),.*/\1/p'
                ;;
        OFFSET)
                # of the operator, whose holds are made and ended by hand
                "$@" ranges --client 1 --json 2>/dev/null | tr '{' '\n' |
                        sed -n 's/^"offset":\([0-9]*\),.*/\1/p'
                ;;
        UID)
                cut -d: -f3 /etc/passwd 2>/dev/null
                ;;
        KEY | WHAT | FORMAT)
                sed 's/([^)]*)//g; s/ or / /g; s/,/ /g' <<<"$words"
                ;;
        esac
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
        quota) names='uid bytes ranges clients keys holds waits connections buffers' ;;
        esac
        compgen -P "$before" -W "$names" -- "${2##*,}"
}

_buddyctl() {
        local tool=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
        local help commands command= word i placeholder words=
        local -a connection=("$tool")
        COMPREPLY=()

        help=$("$tool" --help 2>/dev/null) || return
        commands=$(sed -n 's/^  \([a-z][a-z-]*\).*/\1/p' <<<"$help")
        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                case $word in
                --socket | --pool)
                        ((i + 1 < COMP_CWORD)) && connection+=("$word" "${COMP_WORDS[i + 1]}")
                        ((i++))
                        ;;
                *)
                        [[ -z $command && $'\n'$commands$'\n' == *$'\n'"$word"$'\n'* ]] && command=$word
                        ;;
                esac
        done
        [[ -n $command ]] && help=$("$tool" "$command" --help 2>/dev/null)

        # A line of an option: its name, what stands for its value, at least two blanks, what it is.
        placeholder=
        case $previous in
        --socket) placeholder=PATH ;;
        --pool) placeholder=NAME ;;
        --set)
                words='client-bytes client-ranges client-waits user-bytes user-ranges user-clients user-keys user-holds
                        user-waits user-connections user-buffers client-requests client-output'
                compopt -o nospace 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -S = -W "$words" -- "$current")
                return
                ;;
        -?*)
                word=$(sed -n "s/^  \(-[a-z], \)*\(--[a-z-]*, \)*$previous\(, --[a-z-]*\)* \([A-Z][A-Z]*  *[^ ].*\)/\4/p" <<<"$help")
                placeholder=${word%% *}
                words=${word#* }
                ;;
        esac
        if [[ -z $placeholder && $current == -* ]]; then
                if [[ -n $command ]]; then
                        words=$(sed -n 's/^  \(-[a-z], \)*\(--[a-z-]*\).*/\2/p' <<<"$help")
                else
                        words='--socket --pool --help --version'
                fi
                mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
                return
        fi
        if [[ -z $placeholder && -z $command ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
                return
        fi
        # The operand of the command, which may be one that can be left out.
        [[ -n $placeholder ]] ||
                placeholder=$(sed -n 's/^Usage: .*\[OPTION\.\.\.\] \[*\([A-Z]*\).*/\1/p' <<<"$help")
        case $placeholder in
        PATH | FILE | FOLDER)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                ;;
        LIST)
                mapfile -t COMPREPLY < <(_buddyctl_columns "$command" "$current")
                ;;
        *)
                words=$(_buddyctl_values "$placeholder" "$words" "${connection[@]}")
                mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
                ;;
        esac
}
complete -F _buddyctl buddyctl
