# Completion of stead for bash. What may stand where the cursor is, the program itself says: candidates, and what each means behind a
# tab, a line each; the last line is a number: 2 for no blank behind a candidate, 4 for no names of files.

_stead() {
    local line=${COMP_LINE:0:COMP_POINT} candidate directive words lines
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    mapfile -t lines < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    [[ ${#lines[@]} -gt 0 ]] || return
    directive=${lines[-1]#:}
    unset 'lines[-1]'
    # Bash replaces what is behind the last of its word breaks only.
    local current=${words[-1]} kept=
    case $COMP_WORDBREAKS in *=*:* | *:*=*) kept=${current%"${current##*[=:]}"} ;; esac
    COMPREPLY=()
    for candidate in "${lines[@]}"; do
        candidate=${candidate%%$'\t'*}
        COMPREPLY+=("${candidate#"$kept"}")
    done
    ((directive & 2)) && compopt -o nospace
    ((directive & 4)) || compopt -o default
}

complete -F _stead stead
