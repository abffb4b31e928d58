{{/*
More replicas when there is more work. Signals:
  cpu         CPU use, by metrics-server; says nothing of a stage that computes on a GPU
  pods        likeness_inflight + likeness_queue_depth of each pod, by an adapter for custom metrics
  prometheus  the same, by KEDA out of Prometheus
  database    waiting jobs, by KEDA out of the database (workers only)
*/}}

{{/* Takes root, component, values, name. */}}
{{- define "likeness.stageScaler" -}}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- $head := dict "root" $.root "component" $.component "name" $.name "scaling" . "kind" "Deployment" }}
---
{{- if eq .signal "prometheus" }}
{{ include "likeness.scaledObject" $head }}
  triggers:
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $.root.Values.monitoring.prometheusUrl | quote }}
        query: {{ printf "sum(likeness_inflight{stage=%q,namespace=%q}) + sum(likeness_queue_depth{stage=%q,namespace=%q})" $.component $.root.Release.Namespace $.component $.root.Release.Namespace | quote }}
        threshold: {{ .targetLoad | toJson | quote }}
        ignoreNullValues: "false"  # pods that are not scraped are not idle: as many as there are stay
{{- else }}
{{ include "likeness.podAutoscaler" $head }}
  metrics:
    {{- if eq .signal "cpu" }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetCPUUtilizationPercentage }}
    {{- else }}
    {{- range list "likeness_inflight" "likeness_queue_depth" }}
    - type: Pods
      pods:
        metric:
          name: {{ . }}
        target:
          type: AverageValue
          averageValue: {{ $.values.autoscaling.targetLoad | toJson | quote }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes root, component, values, name. */}}
{{- define "likeness.workerScaler" -}}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- $head := dict "root" $.root "component" $.component "name" $.name "scaling" . "kind" "StatefulSet" }}
{{- if eq .signal "database" }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: {{ $.name }}
  labels:
    {{- include "likeness.labels" $head | nindent 4 }}
spec:
  secretTargetRef:
    - parameter: connection
      name: {{ include "likeness.databaseSecret" $.root }}
      key: {{ include "likeness.databaseKey" $.root }}
---
{{ include "likeness.scaledObject" $head }}
  triggers:
    - type: postgresql
      metricType: AverageValue
      authenticationRef:
        name: {{ $.name }}
      metadata:
        # Those that wait and those that are worked on: a busy worker is not taken away.
        query: "SELECT count(*) FROM jobs WHERE state IN ('queued', 'processing') AND workflow_id IS NOT NULL AND batch_id IS NULL"
        targetQueryValue: {{ .targetJobs | toJson | quote }}
{{- else if eq .signal "prometheus" }}
---
{{ include "likeness.scaledObject" $head }}
  triggers:
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $.root.Values.monitoring.prometheusUrl | quote }}
        # Every worker tells the number of the whole installation, and without jobs none but that of those that wait.
        query: {{ printf "sum(max by (state, kind) (likeness_jobs{namespace=%q})) or 0 * max(likeness_job_queue_depth{namespace=%q})" $.root.Release.Namespace $.root.Release.Namespace | quote }}
        threshold: {{ .targetJobs | toJson | quote }}
        ignoreNullValues: "false"
{{- else }}
---
{{ include "likeness.podAutoscaler" $head }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .targetCPUUtilizationPercentage }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* An HPA up to its metrics. Takes root, component, name, kind, scaling. */}}
{{- define "likeness.podAutoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ .name }}
  minReplicas: {{ .scaling.minReplicas }}
  maxReplicas: {{ .scaling.maxReplicas }}
  behavior:
    {{- include "likeness.scaleDown" . | nindent 4 }}
{{- end }}

{{/* A ScaledObject up to its triggers. */}}
{{- define "likeness.scaledObject" -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ .name }}
  minReplicaCount: {{ .scaling.minReplicas }}
  maxReplicaCount: {{ .scaling.maxReplicas }}
  pollingInterval: 10
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "likeness.scaleDown" . | nindent 8 }}
{{- end }}

{{/* Up at once, down slowly: a replica costs the loading of a model. */}}
{{- define "likeness.scaleDown" -}}
scaleUp:
  stabilizationWindowSeconds: 0
scaleDown:
  stabilizationWindowSeconds: {{ .scaling.scaleDownStabilizationSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end }}
