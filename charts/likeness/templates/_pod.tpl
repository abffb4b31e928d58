{{/* What all pods have in common. */}}

{{/* First lines of a pod's spec. Takes root, component, values, terminationSeconds. */}}
{{- define "likeness.podSpec" -}}
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
{{- range $key := list "nodeSelector" "tolerations" "affinity" "runtimeClassName" "priorityClassName" }}
{{- with get $.values $key }}
{{ $key }}: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . | nindent 2 }}{{ end }}
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

{{/* The object store, and where libraries that want to write may do so. */}}
{{- define "likeness.commonEnv" -}}
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
- name: LIKENESS_STORE_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "likeness.storeSecret" . }}
      key: access-key
- name: LIKENESS_STORE_SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "likeness.storeSecret" . }}
      key: secret-key
- name: HOME
  value: /tmp
- name: NUMBA_CACHE_DIR
  value: /tmp/numba
{{- end }}

{{- define "likeness.storeSecret" -}}
{{- $own := printf "%s-store" (include "likeness.fullname" .) -}}
{{- if eq .Values.store.mode "external" -}}
{{ .Values.store.external.existingSecret }}
{{- else -}}
{{ default $own .Values.store.bundled.existingSecret }}
{{- end -}}
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
