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

{{- define "likeness.keysSecret" -}}
{{- default (printf "%s-keys" (include "likeness.fullname" .)) .Values.keys.existingSecret -}}
{{- end }}

{{/* The keys as gateway and workers see them, all, and as a stage does. Both are mounted where LIKENESS_KEYS_DIR says. */}}
{{- define "likeness.keysVolume" -}}
- name: keys
  secret:
    secretName: {{ include "likeness.keysSecret" . }}
    defaultMode: 0440
{{- end }}

{{/* What a stage needs of the keys: whose grants it takes and, where it makes something, what it marks it with. */}}
{{- define "likeness.stageKeysVolume" -}}
- name: keys
  secret:
    secretName: {{ include "likeness.keysSecret" .root }}
    defaultMode: 0440
    items:
      {{- range $number, $key := .root.Values.keys.trusted }}
      - {key: {{ $key }}, path: grants/{{ $number }}.pem}
      {{- end }}
      {{- if .marks }}
      - {key: mark.key, path: mark.key}
      {{- end }}
{{- end }}

{{- define "likeness.keysMount" -}}
- name: keys
  mountPath: /etc/likeness/keys
  readOnly: true
{{- end }}

{{- define "likeness.apiKeySecret" -}}
{{- default (printf "%s-api-key" (include "likeness.fullname" .)) .Values.gateway.apiKey.existingSecret -}}
{{- end }}
