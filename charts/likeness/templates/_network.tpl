{{/* Who may talk to whom. Everything else is refused in both directions (network.yaml). */}}

{{/* Takes root, component, ingress and egress (lists of rules as YAML text); annotations of a hook's. */}}
{{- define "likeness.networkPolicy" -}}
{{- if .root.Values.networkPolicy.enabled -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "likeness.fullname" .root }}-{{ .component }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "likeness.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with .ingress | trim }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .egress | trim }}
  egress:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* From or to pods of this release. Takes root, direction (from, to), components, port (name or number). */}}
{{- define "likeness.edge" -}}
- {{ .direction }}:
    {{- range .components }}
    - podSelector:
        matchLabels:
          {{- include "likeness.selectorLabels" (dict "root" $.root "component" .) | nindent 10 }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}

{{/* Prometheus. Takes root, port. */}}
{{- define "likeness.metricsEdge" -}}
- {{ with .root.Values.networkPolicy.metricsFrom }}from:
    {{- toYaml . | nindent 4 }}
  {{ end }}ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}

{{- define "likeness.dnsEdge" -}}
# Names; anywhere, because a cache on the node has an address of its own.
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* To the trace collector, wherever it is. */}}
{{- define "likeness.tracingEdge" -}}
{{- with .Values.tracing.endpoint }}
- ports:
    - {protocol: TCP, port: {{ include "likeness.portOf" . }}}
{{- end }}
{{- end }}

{{/* To the object store. */}}
{{- define "likeness.storeEdge" -}}
{{- if eq .Values.store.mode "bundled" -}}
{{ include "likeness.edge" (dict "root" . "direction" "to" "components" (list "store") "port" 9000) }}
{{- else -}}
# The store outside: its addresses are not known here, only its port.
- ports:
    - {protocol: TCP, port: {{ include "likeness.portOf" (printf "%s://%s" (ternary "https" "http" .Values.store.external.secure) (trimPrefix "s3://" .Values.store.external.url)) }}}
{{- end -}}
{{- end }}

{{- define "likeness.databaseEdge" -}}
{{- if eq .Values.database.mode "bundled" -}}
{{ include "likeness.edge" (dict "root" . "direction" "to" "components" (list "database") "port" 5432) }}
{{- else if eq .Values.database.mode "external" -}}
- ports:
    - {protocol: TCP, port: {{ .Values.database.external.port }}}
{{- end -}}
{{- end }}

{{/* What gateway and workers call: stages, store, database, Redis, and what is outside the cluster. */}}
{{- define "likeness.gatewayEgress" -}}
{{ include "likeness.dnsEdge" . }}
{{- range include "likeness.stages" . | fromYamlArray }}
{{ include "likeness.edge" (dict "root" $ "direction" "to" "components" (list .component) "port" .port) }}
{{- end }}
{{ include "likeness.storeEdge" . }}
{{- with include "likeness.databaseEdge" . }}
{{ . }}
{{- end }}
{{- if .Values.redis.existingSecret }}
- ports:
    - {protocol: TCP, port: {{ .Values.redis.port }}}
{{- end }}
{{- include "likeness.tracingEdge" . }}
{{- end }}

{{/* Public addresses over TLS: webhooks, and the keys of a token issuer. */}}
{{- define "likeness.publicEdge" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
    - ipBlock:
        cidr: "::/0"
        except: ["fc00::/7", "fe80::/10"]
  ports:
    - {protocol: TCP, port: 443}
{{- end }}

{{/* The port of a URL, or the usual one of its scheme. */}}
{{- define "likeness.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (eq $url.scheme "https")) $port -}}
{{- end }}

{{- define "likeness.stagePolicy" -}}
{{- $ingress := printf "%s\n%s"
    (include "likeness.edge" (dict "root" .root "direction" "from" "components" (include "likeness.callers" .root | fromYamlArray) "port" .port))
    (include "likeness.metricsEdge" (dict "root" .root "port" .metricsPort)) -}}
{{- $egress := "" -}}
{{- if .usesStore -}}
{{- $egress = printf "%s\n%s" (include "likeness.dnsEdge" .root) (include "likeness.storeEdge" .root) -}}
{{- else if .root.Values.tracing.endpoint -}}
{{- $egress = include "likeness.dnsEdge" .root -}}
{{- end -}}
{{- $egress = printf "%s%s" $egress (include "likeness.tracingEdge" .root) -}}
{{ include "likeness.networkPolicy" (dict "root" .root "component" .component "ingress" $ingress "egress" $egress) }}
{{- end }}

{{/* Components that call stages and the store. */}}
{{- define "likeness.callers" -}}
{{- ternary (list "gateway") (list "gateway" "worker") (eq .Values.database.mode "sqlite") | toYaml -}}
{{- end }}
