{{/*
One model stage: ServiceAccount, PodDisruptionBudget, Deployment, headless Service, NetworkPolicy, PodMonitor and, when
asked for, an autoscaler. Takes root, component, port, metricsPort, usesStore, marks (whether it makes what is marked),
healthService (the gRPC service whose health says that the model is warm).
*/}}
{{- define "likeness.stage" -}}
{{- $values := mergeOverwrite (deepCopy .root.Values.stageDefaults) (get .root.Values.stages .component) -}}
{{- $name := printf "%s-%s" (include "likeness.fullname" .root) .component -}}
{{- $settings := $values.settings -}}
{{- $image := $values.image -}}
{{- if gt (int $values.gpu.count) 0 -}}
{{- $_ := set $values.resources "limits" (merge (dict $values.gpu.resource $values.gpu.count) (default dict $values.resources.limits)) -}}
{{- $_ := set $values "tolerations" (append $values.tolerations (dict "key" (splitList "/" $values.gpu.resource | first | printf "%s/gpu") "operator" "Exists" "effect" "NoSchedule")) -}}
{{- if not (or $image.tag $image.digest) -}}
{{- $_ := set $image "tag" (printf "%s-gpu" (default .root.Chart.AppVersion .root.Values.image.tag)) -}}
{{- end -}}
{{- end -}}
{{- $probed := ternary (include "likeness.healthPort" .) .port .root.Values.mtls.enabled -}}
{{- $pod := dict "root" .root "component" .component "values" $values "priority" "interactive"
    "terminationSeconds" (add (ceil $settings.drain_wait_s) (ceil $settings.drain_grace_s) 15) -}}
{{ include "likeness.companions" $pod }}
{{ include "likeness.podMonitor" (merge (dict "ports" (list "metrics")) $pod) }}
{{ include "likeness.stagePolicy" . }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels:
    {{- include "likeness.labels" $pod | nindent 4 }}
spec:
  # Headless: gateway and workers see every pod and spread their calls themselves.
  clusterIP: None
  selector:
    {{- include "likeness.selectorLabels" $pod | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .port }}
      targetPort: grpc
      appProtocol: {{ ternary "https" "kubernetes.io/h2c" .root.Values.mtls.enabled }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "likeness.labels" $pod | nindent 4 }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    type: {{ $values.strategy.type }}
    {{- if eq $values.strategy.type "RollingUpdate" }}
    rollingUpdate:
      {{- toYaml $values.strategy.rollingUpdate | nindent 6 }}
    {{- end }}
  selector:
    matchLabels:
      {{- include "likeness.selectorLabels" $pod | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "likeness.labels" $pod | nindent 8 }}
      annotations:
        kubectl.kubernetes.io/default-container: {{ .component }}
        {{- if $values.scrapeAnnotations }}
        prometheus.io/scrape: "true"
        prometheus.io/port: {{ .metricsPort | quote }}
        prometheus.io/path: /metrics
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "likeness.podSpec" $pod | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "likeness.image" (dict "root" .root "component" .component "image" $image) }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext:
            {{- include "likeness.containerSecurity" . | nindent 12 }}
          ports:
            - name: grpc
              containerPort: {{ .port }}
            - name: metrics
              containerPort: {{ .metricsPort }}
            {{- if .root.Values.mtls.enabled }}
            - name: health
              containerPort: {{ $probed }}
            {{- end }}
          env:
            - name: LIKENESS_HOST
              value: 0.0.0.0
            - name: LIKENESS_PORT
              value: {{ .port | quote }}
            - name: LIKENESS_METRICS_HOST
              value: 0.0.0.0
            - name: LIKENESS_METRICS_PORT
              value: {{ .metricsPort | quote }}
            - name: LIKENESS_DATA_DIR
              value: /tmp/likeness
            - name: LIKENESS_KEYS_DIR
              value: /etc/likeness/keys
            {{- if .root.Values.mtls.enabled }}
            {{- include "likeness.tlsEnv" .root | nindent 12 }}
            - name: LIKENESS_HEALTH_PORT
              value: {{ $probed | quote }}
            {{- end }}
            {{- if .usesStore }}
            {{- include "likeness.storeEnv" .root | nindent 12 }}
            {{- end }}
            {{- include "likeness.commonEnv" .root | trim | nindent 12 }}
            - name: NUMBA_CACHE_DIR
              value: /cache/numba
            {{- include "likeness.settingsEnv" $settings | trim | nindent 12 }}
          # Alive and ready are different questions: "" is the process, the service's name is its loaded model.
          startupProbe:
            grpc: {port: {{ $probed }}, service: {{ .healthService }}}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: {{ ceil (divf $values.startupSeconds 5) }}
          readinessProbe:
            grpc: {port: {{ $probed }}, service: {{ .healthService }}}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          livenessProbe:
            grpc: {port: {{ $probed }}, service: ""}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          # No preStop: on SIGTERM the server itself says NOT_SERVING and waits drain_wait_s before it refuses calls.
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            - name: cache
              mountPath: /cache
            {{- include "likeness.keysMount" . | nindent 12 }}
            {{- if .root.Values.mtls.enabled }}
            {{- include "likeness.tlsMount" .root | nindent 12 }}
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: {{ $values.tmpSizeLimit }}
        - name: cache
          {{- with $values.modelCache }}
          {{- if .existingClaim }}
          persistentVolumeClaim:
            claimName: {{ .existingClaim }}
          {{- else }}
          emptyDir:
            sizeLimit: {{ .sizeLimit }}
          {{- end }}
          {{- end }}
        {{- include "likeness.stageKeysVolume" . | nindent 8 }}
        {{- if .root.Values.mtls.enabled }}
        {{- include "likeness.tlsVolume" . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{ include "likeness.stageScaler" (dict "root" .root "component" .component "values" $values "name" $name) }}
{{- end }}
