{{/* Names and labels. A component is "encoder", "gateway", "store" ... */}}

{{/* Leaves room for the longest component below the 63 characters of a DNS label. */}}
{{- define "likeness.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- end }}

{{/* Never changes over a release's life. Takes root, component. */}}
{{- define "likeness.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes root, component. */}}
{{- define "likeness.labels" -}}
{{ include "likeness.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: likeness
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes root, component, image (the component's image values). */}}
{{- define "likeness.image" -}}
{{- $repository := default (printf "likeness-%s" .component) .image.repository -}}
{{- $version := printf ":%s" (.image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) -}}
{{- if .image.digest }}{{ $version = printf "@%s" .image.digest }}{{ end -}}
{{ with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $repository }}{{ $version }}
{{- end }}
