#!/usr/bin/env bash
# What the job on Dataflow needs before its first launch: places, an account, roles. Run it again to
# repair: what is there stays. See README.md beside this.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/flex/setup.sh --project PROJECT --region REGION --bucket BUCKET [OPTION...]

Makes what is missing: the bucket, the images' repository, the dead-letter topic with its
subscription, the workers' account issues-pipeline with its roles. The issues topic and its
subscriptions are deploy/publisher/deploy.sh's to make, and must be there.

  --project PROJECT     project id (or PROJECT in the environment)
  --region REGION       region of the job, bucket and images (or REGION in the environment)
  --bucket BUCKET       bucket of the template and of what jobs stage (or BUCKET in the environment)
  --dry-run             print the gcloud commands and run none
  --help                print this
TEXT
}

project=${PROJECT:-} region=${REGION:-} bucket=${BUCKET:-} dry_run=''

wrong() {
  echo "setup.sh: $1 (--help tells more)" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=1; shift ;;
    --project | --region | --bucket)
      (($# > 1)) && [[ -n $2 && $2 != --* ]] || wrong "$1: has no value"
      case $1 in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --bucket) bucket=${2#gs://} ;;
      esac
      shift 2 ;;
    *) wrong "$1: no such option" ;;
  esac
done
[[ -n $project ]] || wrong "--project: is not set"
[[ -n $region ]] || wrong "--region: is not set"
[[ -n $bucket ]] || wrong "--bucket: is not set"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/commands.sh

here=(--project="$project")
input=issues-pipeline-sub
topic=issues-topic
letters=issues-dead-letter
repository=issues
account=issues-pipeline@$project.iam.gserviceaccount.com

services=(dataflow compute pubsub bigquery bigquerystorage storage artifactregistry cloudbuild iam)
run services enable "${services[@]/%/.googleapis.com}" "${here[@]}"

# --- Places. Without soft delete: what jobs stage is not paid for once more after it is gone.
there storage buckets describe "gs://$bucket" "${here[@]}" ||
  run storage buckets create "gs://$bucket" "${here[@]}" --location="$region" \
    --uniform-bucket-level-access --public-access-prevention --soft-delete-duration=0
there artifacts repositories describe "$repository" --location="$region" "${here[@]}" ||
  run artifacts repositories create "$repository" --location="$region" "${here[@]}" \
    --repository-format=docker

# --- Dead letters, with a subscription before anything is sent: a topic without one discards.
there pubsub topics describe "$letters" "${here[@]}" ||
  run pubsub topics create "$letters" "${here[@]}"
there pubsub subscriptions describe "$letters-sub" "${here[@]}" ||
  run pubsub subscriptions create "$letters-sub" --topic="$letters" "${here[@]}" \
    --message-retention-duration=7d --expiration-period=never

# --- The workers' account, which launches too: Dataflow's own role, and these places alone.
there iam service-accounts describe "$account" "${here[@]}" ||
  run iam service-accounts create issues-pipeline "${here[@]}" --display-name='Pipeline'
member=(--member="serviceAccount:$account")
run_patiently projects add-iam-policy-binding "$project" --condition=None "${member[@]}" \
  --role=roles/dataflow.worker
for role in subscriber viewer; do # viewer: Dataflow and the preflight ask for its settings
  run_patiently pubsub subscriptions add-iam-policy-binding "$input" "${here[@]}" "${member[@]}" \
    --role="roles/pubsub.$role"
done
run_patiently pubsub topics add-iam-policy-binding "$topic" "${here[@]}" "${member[@]}" \
  --role=roles/pubsub.viewer
for role in publisher viewer; do # viewer: the preflight asks whether it has a subscription
  run_patiently pubsub topics add-iam-policy-binding "$letters" "${here[@]}" "${member[@]}" \
    --role="roles/pubsub.$role"
done
for role in objectAdmin legacyBucketReader; do # legacyBucketReader: Beam asks for the bucket
  run_patiently storage buckets add-iam-policy-binding "gs://$bucket" "${here[@]}" "${member[@]}" \
    --role="roles/storage.$role"
done
run_patiently artifacts repositories add-iam-policy-binding "$repository" --location="$region" \
  "${here[@]}" "${member[@]}" --role=roles/artifactregistry.reader

# --- The launcher asks which job of this name runs, and whether it may be updated.
run_patiently projects add-iam-policy-binding "$project" --condition=None "${member[@]}" \
  --role=roles/dataflow.viewer

[[ -n $dry_run ]] || cat <<TEXT
Left to do, since gcloud has no command for it: in BigQuery, once the dataset is there,
  GRANT \`roles/bigquery.dataEditor\` ON SCHEMA \`$project.issues_ds\`
    TO "serviceAccount:$account";
TEXT
