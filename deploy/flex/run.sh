#!/usr/bin/env bash
# Launches the Flex Template, or updates the job that runs. See README.md beside this.
set -euo pipefail
((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] > 3))) || {
  echo "run.sh: needs bash 4.4 or later, this is $BASH_VERSION" >&2
  exit 2
}

usage() {
  cat <<'TEXT'
Usage: deploy/flex/run.sh --project PROJECT --region REGION --bucket BUCKET [OPTION...]

Launches the job from gs://BUCKET/templates/issues.json, as the account that setup.sh has made.

  --project PROJECT     project id (or PROJECT in the environment)
  --region REGION       region of the job (or REGION in the environment)
  --bucket BUCKET       bucket of the template, and of what the job stages (or BUCKET ...)
  --job NAME            the job's name (default: issues-pubsub-to-bq); one of a name runs at a time
  --parameter NAME=VALUE    one of metadata.json's, such as output_dataset=DATASET (repeatable)
  --option NAME=VALUE   another of Beam's options (repeatable)
  --account EMAIL       workers' account (default: issues-pipeline of the project)
  --machine-type TYPE   of the workers (default: Dataflow's)
  --workers N           workers at the start (default: 1)
  --max-workers N       workers at most (default: 5)
  --launcher-machine-type TYPE    (default: e2-standard-2; it runs Python and Java side by side)
  --network NETWORK     workers' network
  --subnetwork SUBNET   workers' subnetwork, such as regions/REGION/subnetworks/NAME
  --private             workers have no public addresses
  --kms-key KEY         key for what the job keeps, projects/P/locations/L/keyRings/R/cryptoKeys/K
  --label KEY=VALUE     label of the job (repeatable)
  --experiment NAME     experiment of Dataflow or Beam (repeatable)
  --update              take the place of the job of this name that runs, with its state
  --mapping OLD=NEW     with --update: a step that was renamed (repeatable)
  --dry-run             print the gcloud command and run none
  --help                print this
TEXT
}

project=${PROJECT:-} region=${REGION:-} bucket=${BUCKET:-} job=issues-pubsub-to-bq account=''
dry_run='' update='' private='' workers=1 max_workers=5 launcher=e2-standard-2
parameters=() options=() labels=() experiments=() mappings=() more=()

wrong() {
  echo "run.sh: $1 (--help tells more)" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=1; shift ;;
    --private) private=1; shift ;;
    --update) update=1; shift ;;
    --project | --region | --bucket | --job | --parameter | --option | --account | --machine-type \
      | --workers | --max-workers | --launcher-machine-type | --network | --subnetwork | --kms-key \
      | --label | --experiment | --mapping)
      (($# > 1)) && [[ -n $2 && $2 != --* ]] || wrong "$1: has no value"
      case $1 in
        --parameter | --option | --label | --mapping)
          [[ $2 == ?*=* && $2 != *'|'* ]] || wrong "$1: $2 is not NAME=VALUE" ;;
      esac
      case $1 in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --bucket) bucket=${2#gs://} ;;
        --job) job=$2 ;;
        --parameter) parameters+=("$2") ;;
        --option) options+=("$2") ;;
        --account) account=$2 ;;
        --machine-type) more+=(--worker-machine-type="$2") ;;
        --workers) workers=$2 ;;
        --max-workers) max_workers=$2 ;;
        --launcher-machine-type) launcher=$2 ;;
        --network) more+=(--network="$2") ;;
        --subnetwork) more+=(--subnetwork="$2") ;;
        --kms-key) more+=(--dataflow-kms-key="$2") ;;
        --label) labels+=("$2") ;;
        --experiment) experiments+=("$2") ;;
        --mapping) mappings+=("$2") ;;
      esac
      shift 2 ;;
    *) wrong "$1: no such option" ;;
  esac
done
[[ -n $project ]] || wrong "--project: is not set"
[[ -n $region ]] || wrong "--region: is not set"
[[ -n $bucket ]] || wrong "--bucket: is not set"
[[ -n $update || ${#mappings[@]} == 0 ]] || wrong "--mapping: needs --update"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/commands.sh

# list FLAG VALUE...: a flag of many values, parted by what is in none of them.
list() {
  local flag=$1
  shift
  (($# == 0)) || more+=("$flag=^|^$(IFS='|' && echo "$*")")
}
list --parameters ${parameters[@]+"${parameters[@]}"}
list --additional-pipeline-options ${options[@]+"${options[@]}"}
list --additional-user-labels ${labels[@]+"${labels[@]}"}
list --additional-experiments ${experiments[@]+"${experiments[@]}"}
list --transform-name-mappings ${mappings[@]+"${mappings[@]}"}
[[ -z $private ]] || more+=(--disable-public-ips)
[[ -z $update ]] || more+=(--update)

run dataflow flex-template run "$job" --project="$project" --region="$region" \
  --template-file-gcs-location="gs://$bucket/templates/issues.json" \
  --staging-location="gs://$bucket/staging" --temp-location="gs://$bucket/temp" \
  --service-account-email="${account:-issues-pipeline@$project.iam.gserviceaccount.com}" \
  --enable-streaming-engine --num-workers="$workers" --max-workers="$max_workers" \
  --launcher-machine-type="$launcher" ${more[@]+"${more[@]}"}
