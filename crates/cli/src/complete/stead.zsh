#compdef stead
# Completion of stead for zsh. What may stand where the cursor is, the program itself says: candidates, and what each means behind a
# tab, a line each; the last line is a number: 2 for no blank behind a candidate, 4 for no names of files.

_stead() {
    local -a lines candidates space
    local line directive
    lines=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    directive=${lines[-1]#:}
    (( ${#lines} > 0 )) && [[ $directive == <-> ]] || return 1
    for line in "${(@)lines[1,-2]}"; do
        # A colon parts a candidate from what it means.
        line=${line//:/\\:}
        candidates+=("${line/$'\t'/:}")
    done
    (( directive & 2 )) && space=(-S '')
    (( ${#candidates} )) && _describe 'stead' candidates "${space[@]}" && return
    (( directive & 4 )) || _files
}

if [[ ${funcstack[1]} == _stead ]]; then
    _stead "$@"
else
    compdef _stead stead
fi
