#!/usr/bin/env bash
# The Flex Template: its images, built by Cloud Build, and its file in the bucket. Each build has a
# tag of its own, since workers that start later must be of the same image. See README.md beside.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/flex/build.sh --project PROJECT --region REGION --bucket BUCKET [OPTION...]

Builds the checkout's images and writes gs://BUCKET/templates/issues.json, which names them.

  --project PROJECT     project id (or PROJECT in the environment)
  --region REGION       region of the repository (or REGION in the environment)
  --bucket BUCKET       bucket of the template (or BUCKET in the environment)
  --tag TAG             the images' tag (default: the time, such as 20261201-093000)
  --image IMAGE         build nothing: write the template of this image
  --dry-run             print the gcloud commands and run none
  --help                print this
TEXT
}

project=${PROJECT:-} region=${REGION:-} bucket=${BUCKET:-} dry_run='' image=''
tag=$(date -u +%Y%m%d-%H%M%S)

wrong() {
  echo "build.sh: $1 (--help tells more)" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=1; shift ;;
    --project | --region | --bucket | --tag | --image)
      (($# > 1)) && [[ -n $2 && $2 != --* ]] || wrong "$1: has no value"
      case $1 in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --bucket) bucket=${2#gs://} ;;
        --tag) tag=$2 ;;
        --image) image=$2 ;;
      esac
      shift 2 ;;
    *) wrong "$1: no such option" ;;
  esac
done
[[ -n $project ]] || wrong "--project: is not set"
[[ -n $region ]] || wrong "--region: is not set"
[[ -n $bucket ]] || wrong "--bucket: is not set"
[[ $image != *'"'* ]] || wrong "--image: $image is no image"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/commands.sh

here=(--project="$project")
template=gs://$bucket/templates/issues.json

if [[ -z $image ]]; then
  image=$region-docker.pkg.dev/$project/issues/pipeline:$tag
  java=$region-docker.pkg.dev/$project/issues/pipeline-java:$tag
  run builds submit . "${here[@]}" --region="$region" --config=deploy/flex/cloudbuild.yaml \
    --ignore-file=deploy/flex/.gcloudignore \
    --substitutions="_PYTHON_IMAGE=$image,_JAVA_IMAGE=$java"
fi

# `gcloud dataflow flex-template build` would leave out what metadata.json says of streaming modes.
# So it only checks the metadata, and the file is put together here.
build=(dataflow flex-template build "$template" "${here[@]}" --image="$image"
  --sdk-language=PYTHON --metadata-file=deploy/flex/metadata.json)
show "${build[@]}" --print-only
[[ -n $dry_run ]] || gcloud "${build[@]}" --print-only >/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/issues.json" <<TEXT
{
"image": "$image",
"sdkInfo": {"language": "PYTHON"},
"defaultEnvironment": {"enableStreamingEngine": true},
"metadata": $(<deploy/flex/metadata.json)
}
TEXT
run storage cp "$folder/issues.json" "$template" "${here[@]}" --content-type=application/json

[[ -n $dry_run ]] || echo "$template"
