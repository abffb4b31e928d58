{{/* What all pods have in common. */}}

{{/* First lines of a pod's spec. Takes root, component, values, terminationSeconds; priority (a class of the chart). */}}
{{- define "likeness.podSpec" -}}
{{- $priority := default "" .values.priorityClassName -}}
{{- if and .priority .root.Values.priorityClasses.create (not $priority) -}}
{{- $priority = printf "%s-%s" (include "likeness.fullname" .root) .priority -}}
{{- end -}}
serviceAccountName: {{ include "likeness.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
# A Service called "likeness" would otherwise set LIKENESS_PORT in every pod of the namespace.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.podUser.runAsUser }}
  runAsGroup: {{ .root.Values.podUser.runAsGroup }}
  fsGroup: {{ .root.Values.podUser.fsGroup }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
terminationGracePeriodSeconds: {{ .terminationSeconds }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $priority }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "runtimeClassName" }}
{{- with get $.values $key }}
{{ $key }}: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end }}
{{- if .values.topologySpread }}
# Where there is a choice, replicas stand on different nodes, and in different zones.
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "likeness.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "likeness.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Settings by their Python names as LIKENESS_* variables. toJson keeps large numbers out of the form 5e+07. */}}
{{- define "likeness.settingsEnv" -}}
{{- range $name, $value := . }}
- name: LIKENESS_{{ upper $name }}
  value: {{ if kindIs "string" $value }}{{ quote $value }}{{ else }}{{ toJson $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{/* A variable out of a Secret. Takes name, secret, key. */}}
{{- define "likeness.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}

{{/* Tracing, and where libraries that want to write may do so. */}}
{{- define "likeness.commonEnv" -}}
{{- with .Values.tracing.endpoint }}
- name: LIKENESS_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: LIKENESS_TRACE_SHARE
  value: {{ $.Values.tracing.share | toJson | quote }}
{{- end }}
- name: HOME
  value: /tmp
{{- end }}

{{/* The object store. */}}
{{- define "likeness.storeEnv" -}}
{{- $store := .Values.store -}}
{{- $external := eq $store.mode "external" -}}
- name: LIKENESS_STORE_URL
  value: {{ ternary $store.external.url (printf "s3://%s-store.%s.svc.%s:9000" (include "likeness.fullname" .) .Release.Namespace .Values.clusterDomain) $external | quote }}
- name: LIKENESS_STORE_SECURE
  value: {{ ternary $store.external.secure false $external | quote }}
- name: LIKENESS_STORE_BUCKET
  value: {{ $store.bucket | quote }}
- name: LIKENESS_STORE_REGION
  value: {{ $store.region | quote }}
- name: LIKENESS_STORE_PRESIGN
  value: {{ ternary "true" "false" (ne $store.publicUrl "") | quote }}
{{- with $store.publicUrl }}
- name: LIKENESS_STORE_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- with $store.encryption }}
- name: LIKENESS_STORE_ENCRYPTION
  value: {{ . | quote }}
{{- end }}
{{- with $store.kmsKeyId }}
- name: LIKENESS_STORE_KMS_KEY_ID
  value: {{ . | quote }}
{{- end }}
{{- $secret := include "likeness.storeSecret" . }}
{{ include "likeness.secretEnv" (dict "name" "LIKENESS_STORE_ACCESS_KEY" "secret" $secret "key" "access-key") }}
{{ include "likeness.secretEnv" (dict "name" "LIKENESS_STORE_SECRET_KEY" "secret" $secret "key" "secret-key") }}
{{- end }}

{{/* The database server; empty with SQLite, which is in the data folder. */}}
{{- define "likeness.databaseEnv" -}}
{{- if ne .Values.database.mode "sqlite" -}}
{{ include "likeness.secretEnv" (dict "name" "LIKENESS_DATABASE_URL" "secret" (include "likeness.databaseSecret" .) "key" (include "likeness.databaseKey" .)) }}
{{- end -}}
{{- end }}

{{/* What gateway and workers, one image and one settings class, have in common. */}}
{{- define "likeness.gatewayEnv" -}}
- name: LIKENESS_DATA_DIR
  value: /data
- name: LIKENESS_KEYS_DIR
  value: /etc/likeness/keys
{{- range include "likeness.stages" . | fromYamlArray }}
- name: LIKENESS_{{ upper .component }}_TARGET
  value: dns:///{{ include "likeness.fullname" $ }}-{{ .component }}.{{ $.Release.Namespace }}.svc.{{ $.Values.clusterDomain }}:{{ .port }}
{{- end }}
{{- if .Values.mtls.enabled }}
{{ include "likeness.tlsEnv" . }}
{{- end }}
{{- with include "likeness.databaseEnv" . }}
{{ . }}
{{- end }}
{{- with .Values.redis.existingSecret }}
{{ include "likeness.secretEnv" (dict "name" "LIKENESS_RATE_LIMIT_STORAGE" "secret" . "key" $.Values.redis.key) }}
{{- end }}
{{ include "likeness.storeEnv" . }}
{{ include "likeness.commonEnv" . }}
- name: NUMBA_CACHE_DIR
  value: /tmp/numba
{{- end }}

{{/* Takes root, component, values; the PodDisruptionBudget and ServiceAccount of a component. */}}
{{- define "likeness.companions" -}}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "likeness.fullname" .root }}-{{ .component }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- with .values.podDisruptionBudget }}
{{- if .enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "likeness.fullname" $.root }}-{{ $.component }}
  labels:
    {{- include "likeness.labels" $ | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  # A pod that never became ready must not hold up a node's drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "likeness.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes root, component, ports (names): how Prometheus finds the pods of a component. */}}
{{- define "likeness.podMonitor" -}}
{{- with .root.Values.monitoring.podMonitor }}
{{- if .enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "likeness.fullname" $.root }}-{{ $.component }}
  labels:
    {{- include "likeness.labels" $ | nindent 4 }}
    {{- with .labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "likeness.selectorLabels" $ | nindent 6 }}
  podMetricsEndpoints:
    {{- range $.ports }}
    - port: {{ . }}
      path: /metrics
      interval: {{ $.root.Values.monitoring.podMonitor.interval }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
