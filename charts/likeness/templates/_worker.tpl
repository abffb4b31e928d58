{{/* The container of a worker: alone in a pod of the StatefulSet, or beside the gateway when both share SQLite. */}}
{{- define "likeness.workerContainer" -}}
{{- $worker := .Values.worker -}}
- name: worker
  image: {{ include "likeness.image" (dict "root" . "component" "gateway" "image" .Values.gateway.image) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [python, -m, services.gateway.worker]
  securityContext:
    {{- include "likeness.containerSecurity" . | nindent 4 }}
  ports:
    - name: metrics
      containerPort: 9105
  env:
    # The same after a restart, so that the worker goes on with its own jobs.
    - name: LIKENESS_WORKER_ID
      {{- if eq .Values.database.mode "sqlite" }}
      value: {{ include "likeness.fullname" . }}-worker
      {{- else }}
      valueFrom:
        fieldRef: {fieldPath: metadata.name}
      {{- end }}
    - name: LIKENESS_METRICS_HOST
      value: 0.0.0.0
    - name: LIKENESS_METRICS_PORT
      value: "9105"
    {{- include "likeness.gatewayEnv" . | nindent 4 }}
    {{- include "likeness.settingsEnv" (mergeOverwrite (deepCopy (omit .Values.gateway.settings "workers" "threads" "graceful_timeout_s")) $worker.settings) | trim | nindent 4 }}
  # It serves nothing but its metrics. One that hangs loses its jobs to others, and ends by itself.
  startupProbe:
    tcpSocket: {port: metrics}
    periodSeconds: 2
    failureThreshold: {{ ceil (divf $worker.startupSeconds 2) }}
  livenessProbe:
    tcpSocket: {port: metrics}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml $worker.resources | nindent 4 }}
  volumeMounts:
    - name: worker-tmp
      mountPath: /tmp
    - name: data
      mountPath: /data
    {{- include "likeness.keysMount" . | nindent 4 }}
    {{- if .Values.mtls.enabled }}
    {{- include "likeness.tlsMount" . | nindent 4 }}
    {{- end }}
{{- end }}
