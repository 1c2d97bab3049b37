#!/usr/bin/env bash
# Creates the webhook's certificate: writes it into the Secret that the server reads, and writes its CA into the webhook
# configuration, so that the API server trusts it. A valid certificate is kept, so the script can run again at any time;
# --renew replaces it. The keys are in a private folder that is deleted at the end: the CA signs only one certificate.
#
# Uses kubectl with its current context, or the command in the environment variable KUBECTL.
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
    log "kept the certificate in the Secret $namespace/$secret"
    return
  fi
  [[ ! -s $folder/tls.crt ]] || is_own "$folder/tls.crt" ||
    fail "the Secret $namespace/$secret has a certificate that this script did not create and that cannot be used: not for this service, not signed by its ca.crt, or about to expire; replace it"
  make
  # The API server trusts both CAs while the server changes from the old certificate to the new one.
  cat "$folder/ca.crt" "$folder/old-ca.crt" >"$folder/both.crt"
  trust "$folder/both.crt"
  store
  # The server reads the files only when it starts. Without an old Secret its pod still waits for the Secret.
  [[ ! -s $folder/old-ca.crt ]] || "${kubectl[@]}" -n "$namespace" rollout restart "deployment/$service" >/dev/null
  log "created a certificate for $days days in the Secret $namespace/$secret"
}

# Prints one entry of the Secret; nothing if it does not exist.
fetch() {
  "${kubectl[@]}" -n "$namespace" get secret "$secret" --ignore-not-found -o "go-template={{with .data}}{{with index . \"$1\"}}{{.}}{{end}}{{end}}" |
    base64 -d
}

good() {
  [[ -s $1 && -s $folder/old-ca.crt ]] &&
    openssl x509 -in "$1" -noout -checkend "$renew_below_seconds" >/dev/null &&
    openssl verify -CAfile "$folder/old-ca.crt" -untrusted "$1" -verify_hostname "$service.$namespace.svc" "$1" >/dev/null 2>&1
}

is_own() { [[ $(openssl x509 -in "$1" -noout -issuer -nameopt RFC2253) == "issuer=CN=$service CA" ]]; }

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
    # The API server checks only the subject alternative names.
    openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \
      -days "$days" -out tls.crt -extfile <(printf '%s\n' 'basicConstraints = critical, CA:false' \
        'keyUsage = critical, digitalSignature' 'extendedKeyUsage = serverAuth' \
        'subjectKeyIdentifier = hash' 'authorityKeyIdentifier = keyid' \
        "subjectAltName = DNS:$service.$namespace.svc, DNS:$service.$namespace.svc.cluster.local") 2>/dev/null
  )
}

# Server-side apply, because a client-side apply would also write the key into an annotation.
store() {
  "${kubectl[@]}" -n "$namespace" create secret generic "$secret" --type=kubernetes.io/tls --dry-run=client -o yaml \
    --from-file="$folder/tls.crt" --from-file="$folder/tls.key" --from-file="$folder/ca.crt" |
    "${kubectl[@]}" apply --server-side --field-manager="$manager" --force-conflicts -f - >/dev/null
}

# A strategic patch finds the entries by name and owns only caBundle, so a later apply of the configuration does not change
# it. A server-side apply by kubectl would take over all fields that an earlier client-side apply wrote.
trust() {
  local bundle patch entry
  bundle=$(base64 <"$1" | tr -d '\n')
  for entry in "${entries[@]}"; do
    patch+="{\"name\": \"$entry\", \"clientConfig\": {\"caBundle\": \"$bundle\"}},"
  done
  "${kubectl[@]}" patch mutatingwebhookconfiguration "$configuration" --type=strategic --field-manager="$manager" \
    -p "{\"webhooks\": [${patch%,}]}" >/dev/null ||
    fail 'cannot write the CA into the webhook configuration; run first: kubectl apply -k manifests'
}

log() { printf '%s: %s\n' "${0##*/}" "$1" >&2; }

fail() {
  log "$1"
  exit 1
}

main "$@"
