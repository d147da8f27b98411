# What the deploy scripts share: how a gcloud command is shown, run, tried again, asked.
# Sourced, after dry_run ('' or 1) is set.

export CLOUDSDK_CORE_DISABLE_PROMPTS=1

show() { printf 'gcloud'; printf ' %q' "$@"; echo; }

# Carries a command out.
run() {
  show "$@"
  [[ -n $dry_run ]] || gcloud "$@"
}

# The same, again for two minutes: a new account or a new role is not known everywhere at once.
run_patiently() {
  show "$@"
  [[ -z $dry_run ]] || return 0
  local try
  for try in {1..12}; do
    gcloud "$@" && return
    echo "try $try of 12 failed" >&2
    ((try == 12)) || sleep 10
  done
  return 1
}

# Whether a thing is there. What hides it (no permission, no network) the next command will say.
there() {
  if [[ -n $dry_run ]]; then show "$@"; return 1; fi
  gcloud "$@" >/dev/null 2>&1
}

# ask NAME EXAMPLE COMMAND...: a command's answer into a variable; the example in a dry run.
ask() {
  local -n answer=$1
  local example=$2
  shift 2
  if [[ -n $dry_run ]]; then show "$@"; answer=$example; else answer=$(gcloud "$@"); fi
}
