#!/usr/bin/env bash
# Gives the webhook its certificate: the Secret that the server serves from, and the CA in the webhook configuration that
# the API server trusts. A good certificate is kept, so that it can be run again at any time; with --renew a new one is
# made. Keys are in a private folder while this runs and nowhere after it: the CA signs once and is forgotten.
#
# Uses the current context of kubectl, or the KUBECTL of the environment with its arguments.
set -euo pipefail
umask 077

namespace=vdi-metrics
service=vdi-metrics-webhook
secret=vdi-metrics-webhook-tls
configuration=vdi-metrics
entries=(by-namespace.mutate.vdi-metrics.io by-pod.mutate.vdi-metrics.io)
days=365
manager=vdi-metrics-certificate
renew_below_seconds=$((30 * 24 * 3600))
read -ra kubectl <<<"${KUBECTL:-kubectl}"

main() {
  local renew=${1:-}
  [[ -z $renew || $renew == --renew ]] || fail "usage: ${0##*/} [--renew]"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  trap 'exit 130' INT TERM

  fetch ca.crt >"$folder/old-ca.crt"
  fetch tls.crt >"$folder/tls.crt"
  if [[ -z $renew ]] && good "$folder/tls.crt"; then
    trust "$folder/old-ca.crt"
    say "kept the certificate in the Secret $namespace/$secret"
    return
  fi
  [[ ! -s $folder/tls.crt ]] || ours "$folder/tls.crt" ||
    fail "the Secret $namespace/$secret holds another's certificate: not for this service, not by its ca.crt, or soon over"
  make
  # The new CA is trusted before the server shows its certificate, and the old one until it does.
  cat "$folder/ca.crt" "$folder/old-ca.crt" >"$folder/both.crt"
  trust "$folder/both.crt"
  store
  # The server reads the files when it starts; a first one waits for the Secret anyway.
  [[ ! -s $folder/old-ca.crt ]] || "${kubectl[@]}" -n "$namespace" rollout restart "deployment/$service" >/dev/null
  say "made a certificate for $days days in the Secret $namespace/$secret"
}

# One entry of the Secret; nothing where there is none.
fetch() {
  "${kubectl[@]}" -n "$namespace" get secret "$secret" --ignore-not-found -o "go-template={{with .data}}{{with index . \"$1\"}}{{.}}{{end}}{{end}}" |
    base64 -d
}

good() {
  [[ -s $1 && -s $folder/old-ca.crt ]] &&
    openssl x509 -in "$1" -noout -checkend "$renew_below_seconds" >/dev/null &&
    openssl verify -CAfile "$folder/old-ca.crt" -untrusted "$1" -verify_hostname "$service.$namespace.svc" "$1" >/dev/null 2>&1
}

ours() { [[ $(openssl x509 -in "$1" -noout -issuer -nameopt RFC2253) == "issuer=CN=$service CA" ]]; }

make() {
  (
    cd "$folder"
    key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }
    key ca.key
    openssl req -x509 -new -key ca.key -sha256 -days "$days" -subj "/CN=$service CA" -out ca.crt \
      -config <(printf '%s\n' '[req]' 'distinguished_name = dn' 'x509_extensions = ca' '[dn]' '[ca]' \
        'basicConstraints = critical, CA:true, pathlen:0' 'keyUsage = critical, keyCertSign, cRLSign' \
        'subjectKeyIdentifier = hash')
    key tls.key
    openssl req -new -key tls.key -subj "/CN=$service.$namespace.svc" -out tls.csr \
      -config <(printf '%s\n' '[req]' 'distinguished_name = dn' '[dn]')
    # API servers look at the alternative names alone.
    openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \
      -days "$days" -out tls.crt -extfile <(printf '%s\n' 'basicConstraints = critical, CA:false' \
        'keyUsage = critical, digitalSignature' 'extendedKeyUsage = serverAuth' \
        'subjectKeyIdentifier = hash' 'authorityKeyIdentifier = keyid' \
        "subjectAltName = DNS:$service.$namespace.svc, DNS:$service.$namespace.svc.cluster.local") 2>/dev/null
  )
}

# Server-side, because a client-side apply would write the key into an annotation as well.
store() {
  "${kubectl[@]}" -n "$namespace" create secret generic "$secret" --type=kubernetes.io/tls --dry-run=client -o yaml \
    --from-file="$folder/tls.crt" --from-file="$folder/tls.key" --from-file="$folder/ca.crt" |
    "${kubectl[@]}" apply --server-side --field-manager="$manager" --force-conflicts -f - >/dev/null
}

# A strategic patch finds the entries by name and owns caBundle alone, so that whoever applies the configuration leaves it
# as it is. A server-side apply of kubectl would take over everything that a client-side one has applied before.
trust() {
  local bundle patch entry
  bundle=$(base64 <"$1" | tr -d '\n')
  for entry in "${entries[@]}"; do
    patch+="{\"name\": \"$entry\", \"clientConfig\": {\"caBundle\": \"$bundle\"}},"
  done
  "${kubectl[@]}" patch mutatingwebhookconfiguration "$configuration" --type=strategic --field-manager="$manager" \
    -p "{\"webhooks\": [${patch%,}]}" >/dev/null || fail 'first: kubectl apply -k manifests'
}

say() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
  say "$1"
  exit 1
}

main "$@"
