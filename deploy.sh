#!/usr/bin/env bash
# Publishes the layer: a thin shell over `o2-lambda deploy`, `list` and `delete`.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: ./deploy.sh [deploy|list|delete|help] [OPTION]...

  deploy   publish target/o2-lambda-extension-<arch>.zip, print the ARNs (the default)
  list     list the published versions
  delete   delete published versions, after a confirmation
  help     this text

Variables:
  DEPLOY_ARCH     all (default), x86_64 or arm64
  DEPLOY_VARIANT  full, core or java, several with commas between; by default full is deployed, all are listed and deleted
  AWS_REGION      one region, or several separated by commas or spaces; default: the profile's

Options go to `o2-lambda COMMAND`, see `o2-lambda COMMAND --help`: --region, --profile, --public, --org-id, --keep, --yes,
--dry-run, --json.
HELP
}

fail() {
    echo "deploy.sh: $1" >&2
    exit 2
}

command=${1:-deploy}
shift || true
case $command in
    deploy | list | delete) ;;
    help | -h | --help)
        usage
        exit
        ;;
    *) fail "unknown command '$command': deploy, list, delete or help" ;;
esac

architecture=${DEPLOY_ARCH:-all}
case $architecture in
    all | x86_64 | arm64) ;;
    *) fail "DEPLOY_ARCH must be all, x86_64 or arm64, got '$architecture'" ;;
esac

cd "$(dirname "$0")"
program=.venv/bin/o2-lambda
if [ ! -x "$program" ]; then
    program=$(command -v o2-lambda) || fail "o2-lambda is not installed: run \`make venv\`"
fi

variants=()
named=${DEPLOY_VARIANT:-}
for variant in ${named//,/ }; do
    case $variant in
        full | core | java) variants+=(--variant "$variant") ;;
        *) fail "DEPLOY_VARIANT must name full, core or java, got '$variant'" ;;
    esac
done

regions=()
listed=${AWS_REGION:-}
case " $*" in
    *" --region"*) listed='' ;; # a default, as for every AWS tool: nothing is done in a region beside those asked for
esac
for region in ${listed//,/ }; do
    regions+=(--region "$region")
done
exec "$program" "$command" --arch "$architecture" ${variants[@]+"${variants[@]}"} ${regions[@]+"${regions[@]}"} "$@"
