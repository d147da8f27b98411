#!/usr/bin/env bash
# The publisher on Cloud Run, with a trigger that brings it Firestore's changes. Run it again to
# change or repair: what is there stays, and a new revision is deployed. See README.md beside this.
set -euo pipefail
((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] > 3))) || {
  echo "deploy.sh: needs bash 4.4 or later, this is $BASH_VERSION" >&2
  exit 2
}

usage() {
  cat <<'TEXT'
Usage: deploy/publisher/deploy.sh --project PROJECT --region REGION [OPTION...]

Deploys the service firestore-to-pubsub and all that it needs: topic and subscriptions, two service
accounts, a secret for the API keys, an Eventarc trigger for Firestore.

  --project PROJECT     project id (or PROJECT in the environment)
  --region REGION       region of the service (or REGION in the environment)
  --image IMAGE         deploy this image; without it Cloud Build builds the checkout (--source .)
  --document PATTERN    documents that the trigger hears of (default: issues/{issue})
  --trigger NAME        the trigger's name (default: firestore-to-pubsub); each pattern has its own
  --database DATABASE   Firestore database (default: (default))
  --auth-context        events also say who made the change (auth_type and auth_id of the rows)
  --env NAME=VALUE      one more setting of the service, such as MESSAGE_FORMAT=flat (repeatable)
  --max-instances N     (default: 10)
  --metrics             add Google's Prometheus sidecar (needs --image; CPU is always allocated)
  --dry-run             print the gcloud commands and run none
  --help                print this
TEXT
}

service=firestore-to-pubsub
topic=issues-topic
undelivered=issues-undelivered
keys=firestore-to-pubsub-api-keys
monitoring=firestore-to-pubsub-monitoring
sidecar=us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.2.0
metrics_port=9090 # monitoring.yaml names it too

project=${PROJECT:-} region=${REGION:-} image='' document='issues/{issue}' trigger=$service
database='(default)' type=google.cloud.firestore.document.v1.written max_instances=10
metrics='' dry_run='' settings=()
number='' location='' version='' heard='' # what gcloud is asked

wrong() {
  echo "deploy.sh: $1 (--help tells more)" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --help) usage; exit ;;
    --dry-run) dry_run=1; shift ;;
    --metrics) metrics=1; shift ;;
    --auth-context) type=google.cloud.firestore.document.v1.written.withAuthContext; shift ;;
    --project | --region | --image | --document | --trigger | --database | --max-instances | --env)
      (($# > 1)) && [[ -n $2 && $2 != --* ]] || wrong "$1: has no value"
      case $1 in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --image) image=$2 ;;
        --document) document=$2 ;;
        --trigger) trigger=$2 ;;
        --database) database=$2 ;;
        --max-instances) max_instances=$2 ;;
        --env) [[ $2 == [A-Z]*=* && $2 != *'|'* ]] || wrong "--env: $2 is not NAME=VALUE"
               settings+=("$2") ;;
      esac
      shift 2 ;;
    *) wrong "$1: no such option" ;;
  esac
done
[[ -n $project ]] || wrong "--project: is not set"
[[ -n $region ]] || wrong "--region: is not set"
[[ -z $metrics || -n $image ]] || wrong "--metrics: needs --image"

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source deploy/commands.sh

here=(--project="$project")

services=(run eventarc eventarcpublishing pubsub secretmanager firestore iam cloudresourcemanager)
[[ -n $image ]] || services+=(cloudbuild artifactregistry)
[[ -z $metrics ]] || services+=(monitoring)
run services enable "${services[@]/%/.googleapis.com}" "${here[@]}"

ask number 123456789012 projects describe "$project" '--format=value(projectNumber)'
ask location us-east1 firestore databases describe --database="$database" "${here[@]}" \
  '--format=value(locationId)'

# --- Topics, each with a subscription before anything is sent: a topic without one discards.
there pubsub topics describe "$topic" "${here[@]}" ||
  run pubsub topics create "$topic" "${here[@]}"
there pubsub subscriptions describe issues-pipeline-sub "${here[@]}" ||
  run pubsub subscriptions create issues-pipeline-sub --topic="$topic" "${here[@]}" \
    --ack-deadline=10 --message-retention-duration=7d --expiration-period=never
there pubsub subscriptions describe issues-debug-sub "${here[@]}" ||
  run pubsub subscriptions create issues-debug-sub --topic="$topic" "${here[@]}" \
    --message-retention-duration=1d --expiration-period=never
there pubsub topics describe "$undelivered" "${here[@]}" ||
  run pubsub topics create "$undelivered" "${here[@]}"
there pubsub subscriptions describe "$undelivered-sub" "${here[@]}" ||
  run pubsub subscriptions create "$undelivered-sub" --topic="$undelivered" "${here[@]}" \
    --message-retention-duration=7d --expiration-period=never

# --- The service's account: this topic and the keys' secret, nothing else of the project.
account=$service@$project.iam.gserviceaccount.com
there iam service-accounts describe "$account" "${here[@]}" ||
  run iam service-accounts create "$service" "${here[@]}" --display-name='Publisher'
for role in publisher viewer; do # viewer: /ready asks whether the topic has a subscription
  run_patiently pubsub topics add-iam-policy-binding "$topic" "${here[@]}" \
    --member="serviceAccount:$account" --role="roles/pubsub.$role"
done
there secrets describe "$keys" "${here[@]}" ||
  run secrets create "$keys" "${here[@]}" --replication-policy=automatic
run_patiently secrets add-iam-policy-binding "$keys" "${here[@]}" --condition=None \
  --member="serviceAccount:$account" --role=roles/secretmanager.secretAccessor
ask version 1 secrets versions list "$keys" "${here[@]}" --filter=state=ENABLED --limit=1 \
  '--format=value(name)'
if [[ -z $version ]]; then
  cat >&2 <<TEXT
deploy.sh: the secret $keys has no version yet. Make a key for each client, add their
entries as a version, and run this again:
  python -m publisher key CLIENT
  printf '%s' 'CLIENT:SHA256' |
    gcloud secrets versions add $keys --project=$project --data-file=-
TEXT
  exit 1
fi

# --- The trigger's account: it may receive events and call this one service.
caller=$service-trigger@$project.iam.gserviceaccount.com
there iam service-accounts describe "$caller" "${here[@]}" ||
  run iam service-accounts create "$service-trigger" "${here[@]}" \
    --display-name='Trigger of the publisher'
run_patiently projects add-iam-policy-binding "$project" --condition=None \
  --member="serviceAccount:$caller" --role=roles/eventarc.eventReceiver

# --- Whom tokens are meant for. Cloud Run gives a service two URLs, and which of them Eventarc takes
# is not documented: the one of known form goes in first, the trigger's own is read below.
audiences=https://$service-$number.$region.run.app
subscription=''
read_audience() { # of the trigger's own subscription; where it has none, Pub/Sub takes the endpoint
  ask subscription "projects/$project/subscriptions/eventarc-$location-$trigger-sub-000" \
    eventarc triggers describe "$trigger" --location="$location" "${here[@]}" \
    '--format=value(transport.pubsub.subscription)'
  ask heard "https://$service-abcdefghij-ue.a.run.app" \
    pubsub subscriptions describe "$subscription" "${here[@]}" \
    '--format=value(pushConfig.oidcToken.audience,pushConfig.pushEndpoint)'
  heard=${heard#$'\t'} # two columns, the first of them may be empty
  heard=${heard%%$'\t'*}
}
has_trigger=''
if there eventarc triggers describe "$trigger" --location="$location" "${here[@]}"; then
  has_trigger=1
  read_audience
  [[ ,$audiences, == *",$heard,"* ]] || audiences+=,$heard
fi

# --- The service.
if [[ -n $image ]]; then what=(--image="$image"); else what=(--source=.); fi
variables=(
  "GOOGLE_CLOUD_PROJECT=$project" "ISSUES_TOPIC=$topic" "EVENT_SERVICE_ACCOUNTS=$caller"
  ${metrics:+"METRICS_PORT=$metrics_port"} ${settings[@]+"${settings[@]}"}
)
joined=$(IFS='|' && echo "${variables[*]}")
# The service checks tokens and keys itself, so Cloud Run lets all through: its own check would turn
# away issues, whose senders have no Google account, and takes the signature off the tokens that it
# lets through. --concurrency: one process answers some thousand requests a second, each there for
# some 50 ms; more at once would only wait. --timeout: a body has 30 s, Pub/Sub 8 s. The startup
# probe sends no request to an instance that can't reach its topic, or whose topic has no
# subscription; --cpu-boost is for the start.
of_service=(
  --service-account="$account" --allow-unauthenticated --concurrency=250
  --max-instances="$max_instances" --timeout=60
)
of_container=(
  "${what[@]}" --port=8080 --cpu=1 --memory=512Mi
  --startup-probe=httpGet.path=/ready,periodSeconds=1,timeoutSeconds=1,failureThreshold=60
  --liveness-probe=httpGet.path=/live,periodSeconds=10,timeoutSeconds=5,failureThreshold=3
  --set-secrets="API_KEYS=$keys:latest" "--set-env-vars=^|^$joined|EVENT_AUDIENCES=$audiences"
)
if [[ -n $metrics ]]; then
  there secrets describe "$monitoring" "${here[@]}" ||
    run secrets create "$monitoring" "${here[@]}" --replication-policy=automatic \
      --data-file=deploy/publisher/monitoring.yaml
  run_patiently secrets add-iam-policy-binding "$monitoring" "${here[@]}" --condition=None \
    --member="serviceAccount:$account" --role=roles/secretmanager.secretAccessor
  for role in monitoring.metricWriter logging.logWriter; do
    run_patiently projects add-iam-policy-binding "$project" --condition=None \
      --member="serviceAccount:$account" --role="roles/$role"
  done
  # The sidecar works between requests too, so CPU is always allocated.
  run run deploy "$service" "${here[@]}" --region="$region" "${of_service[@]}" --no-cpu-throttling \
    --container=publisher "${of_container[@]}" \
    --container=collector --image="$sidecar" --cpu=1 --memory=256Mi --depends-on=publisher \
    --set-secrets="/etc/rungmp/config.yaml=$monitoring:latest"
else
  # CPU only while requests are there: whatever the service does, a request waits for.
  run run deploy "$service" "${here[@]}" --region="$region" "${of_service[@]}" --cpu-throttling \
    --cpu-boost "${of_container[@]}"
fi
run_patiently run services add-iam-policy-binding "$service" "${here[@]}" --region="$region" \
  --member="serviceAccount:$caller" --role=roles/run.invoker

# --- The trigger, where the database is.
[[ -n $has_trigger ]] ||
  run_patiently eventarc triggers create "$trigger" --location="$location" "${here[@]}" \
    --destination-run-service="$service" --destination-run-region="$region" \
    --destination-run-path=/ --event-filters="type=$type" --event-filters="database=$database" \
    --event-filters-path-pattern="document=$document" \
    --event-data-content-type=application/protobuf --service-account="$caller"
read_audience
# Until this is done, events are answered with 401 and wait in the trigger's subscription.
[[ ,$audiences, == *",$heard,"* ]] ||
  run run services update "$service" "${here[@]}" --region="$region" \
    ${metrics:+--container=publisher} "--update-env-vars=^|^EVENT_AUDIENCES=$audiences,$heard"

# --- What can't be delivered. Eventarc's subscription drops an event after 24 hours and has no dead
# letters; here it waits a week, and after a hundred tries goes where it can be looked at.
agent=serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com
run_patiently pubsub topics add-iam-policy-binding "$undelivered" "${here[@]}" \
  --member="$agent" --role=roles/pubsub.publisher
run_patiently pubsub subscriptions add-iam-policy-binding "$subscription" "${here[@]}" \
  --member="$agent" --role=roles/pubsub.subscriber
run pubsub subscriptions update "$subscription" "${here[@]}" \
  --message-retention-duration=7d --expiration-period=never --ack-deadline=10 \
  --min-retry-delay=10s --max-retry-delay=600s \
  --dead-letter-topic="projects/$project/topics/$undelivered" --max-delivery-attempts=100

[[ -n $dry_run ]] || echo "https://$service-$number.$region.run.app"
