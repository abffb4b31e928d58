{{/*
Secrets that are made once and kept: what the cluster has already is taken over at every upgrade, and an uninstall leaves
them. Tools that render without a cluster would make new ones each time; they must name Secrets of their own.
*/}}

{{/* Takes root, component, keys (name to value; of a name that the Secret has already, the old value wins). */}}
{{- define "likeness.keptSecret" -}}
{{- $name := printf "%s-%s" (include "likeness.fullname" .root) .component -}}
{{- $old := (lookup "v1" "Secret" .root.Release.Namespace $name).data | default dict -}}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ $name }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
  {{- range $key, $value := .keys }}
  {{ $key }}: {{ get $old $key | default ($value | b64enc) }}
  {{- end }}
{{- end }}

{{- define "likeness.storeSecret" -}}
{{- $own := printf "%s-store" (include "likeness.fullname" .) -}}
{{- if eq .Values.store.mode "external" -}}
{{ .Values.store.external.existingSecret }}
{{- else -}}
{{ default $own .Values.store.bundled.existingSecret }}
{{- end -}}
{{- end }}

{{- define "likeness.databaseSecret" -}}
{{- $own := printf "%s-database" (include "likeness.fullname" .) -}}
{{- if eq .Values.database.mode "external" -}}
{{ .Values.database.external.existingSecret }}
{{- else -}}
{{ default $own .Values.database.bundled.existingSecret }}
{{- end -}}
{{- end }}

{{- define "likeness.databaseKey" -}}
{{- ternary .Values.database.external.key "url" (eq .Values.database.mode "external") -}}
{{- end }}

{{- define "likeness.apiKeySecret" -}}
{{- default (printf "%s-api-key" (include "likeness.fullname" .)) .Values.gateway.apiKey.existingSecret -}}
{{- end }}
