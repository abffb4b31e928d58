{{/* Combinations that the schema lets pass and that cannot work. */}}
{{- define "likeness.checks" -}}
{{- $database := .Values.database -}}
{{- with .Values.store.external -}}
{{- if and (eq $.Values.store.mode "external") (not (and .url .existingSecret)) -}}
{{- fail "store.mode is external: set store.external.url (s3://host:port) and store.external.existingSecret (a Secret with the keys access-key and secret-key)." -}}
{{- end -}}
{{- end -}}
{{- with .Values.store -}}
{{- if and (eq .mode "bundled") (or .external.url .external.existingSecret) -}}
{{- fail "store.external is set, but store.mode is bundled: set store.mode to external." -}}
{{- end -}}
{{- if ne (eq .encryption "kms") (ne .kmsKeyId "") -}}
{{- fail "store.encryption=kms and store.kmsKeyId belong together: set both, or neither." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $database.mode "external") (not $database.external.existingSecret) -}}
{{- fail "database.mode is external: set database.external.existingSecret (a Secret whose key url holds postgresql://user:password@host/name)." -}}
{{- end -}}
{{- if and (ne $database.mode "external") $database.external.existingSecret -}}
{{- fail (printf "database.external.existingSecret is set, but database.mode is %s: set database.mode to external." $database.mode) -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if and (or (gt (int .replicas) 1) .autoscaling.enabled) (eq $database.mode "sqlite") -}}
{{- fail "Several gateways, but SQLite on a volume serves one: set database.mode to external or bundled, or gateway.replicas to 1." -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}
{{- fail "gateway.ingress.enabled needs gateway.ingress.host." -}}
{{- end -}}
{{- if and .httpRoute.enabled (not .httpRoute.parentRefs) -}}
{{- fail "gateway.httpRoute.enabled needs gateway.httpRoute.parentRefs: the Gateway that takes the route." -}}
{{- end -}}
{{- if and .settings.oidc_issuer (not .settings.oidc_audience) -}}
{{- fail "gateway.settings.oidc_issuer needs gateway.settings.oidc_audience: else tokens for other services would be taken." -}}
{{- end -}}
{{- if and .allowUnauthenticated (eq (default "auto" .settings.auth) "keys") -}}
{{- fail "gateway.allowUnauthenticated contradicts gateway.settings.auth=keys." -}}
{{- end -}}
{{- if and .settings.rate_limit_storage $.Values.redis.existingSecret -}}
{{- fail "Set gateway.settings.rate_limit_storage or redis.existingSecret, not both." -}}
{{- end -}}
{{- end -}}
{{- with .Values.mtls -}}
{{- if and .issuerRef (not .enabled) -}}
{{- fail "mtls.issuerRef is set, but calls are in plain text: set mtls.enabled too." -}}
{{- end -}}
{{- if le (trimSuffix "h" .duration | int) (trimSuffix "h" .renewBefore | int) -}}
{{- fail "mtls.renewBefore must be shorter than mtls.duration." -}}
{{- end -}}
{{- if and (not .issuerRef) (gt (trimSuffix "h" .duration | int) 8760) -}}
{{- fail "mtls.duration: at most 8760h, which is how long before its end the chart's own authority is renewed. Name another with mtls.issuerRef for longer." -}}
{{- end -}}
{{- end -}}
{{- with .Values.worker -}}
{{- if and .autoscaling.enabled (eq $database.mode "sqlite") -}}
{{- fail "With SQLite one worker runs beside the gateway: worker.autoscaling needs database.mode external or bundled." -}}
{{- end -}}
{{- if and (ne (int .replicas) 1) (eq $database.mode "sqlite") -}}
{{- fail "With SQLite one worker runs beside the gateway: worker.replicas needs database.mode external or bundled." -}}
{{- end -}}
{{- end -}}
{{- range $stage := list "synthesizer" "vocoder" -}}
{{- $values := mergeOverwrite (deepCopy $.Values.stageDefaults) (get $.Values.stages $stage) -}}
{{- if gt (int $values.gpu.count) 0 -}}
{{- fail (printf "stages.%s.gpu: this stage computes on the CPU, a GPU would idle. More replicas make it faster." $stage) -}}
{{- end -}}
{{- end -}}
{{- range $name, $scaling := dict "gateway" .Values.gateway.autoscaling "worker" .Values.worker.autoscaling -}}
{{- include "likeness.replicasCheck" (dict "name" $name "scaling" $scaling) -}}
{{- end -}}
{{- with .Values.worker.autoscaling -}}
{{- if and .enabled (eq (int .minReplicas) 0) (ne .signal "database") -}}
{{- fail (printf "worker.autoscaling.minReplicas is 0: without a worker nothing tells of waiting jobs by the signal %s. Set signal to database, or minReplicas to 1." .signal) -}}
{{- end -}}
{{- if and .enabled (eq .signal "database") (eq $database.mode "bundled") $.Values.networkPolicy.enabled (not $.Values.networkPolicy.scalersFrom) -}}
{{- fail "worker.autoscaling.signal is database: let KEDA's namespace reach the bundled database with networkPolicy.scalersFrom." -}}
{{- end -}}
{{- end -}}
{{- range $stage, $own := .Values.stages -}}
{{- $values := mergeOverwrite (deepCopy $.Values.stageDefaults) $own -}}
{{- include "likeness.replicasCheck" (dict "name" (printf "stages.%s" $stage) "scaling" $values.autoscaling) -}}
{{- if and $values.autoscaling.enabled (eq $values.autoscaling.signal "database") -}}
{{- fail (printf "stages.%s.autoscaling.signal: waiting jobs are the workers' signal; use cpu, pods or prometheus." $stage) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (eq $values.autoscaling.signal "cpu") (gt (int $values.gpu.count) 0) -}}
{{- fail (printf "stages.%s.autoscaling.signal: CPU use says nothing of a stage that computes on a GPU; use pods or prometheus." $stage) -}}
{{- end -}}
{{- range $resource, $_ := $values.resources.limits -}}
{{- if hasPrefix "nvidia.com/" $resource -}}
{{- fail (printf "stages.%s.resources.limits: ask for %s by stages.%s.gpu.count and gpu.resource, which also take the image and the toleration for it." $stage $resource $stage) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Takes name, scaling. */}}
{{- define "likeness.replicasCheck" -}}
{{- if gt (int .scaling.minReplicas) (int .scaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas is greater than maxReplicas." .name) -}}
{{- end -}}
{{- end }}
