{{/* Combinations that the schema lets pass and that cannot work. */}}
{{- define "likeness.checks" -}}
{{- $database := .Values.database -}}
{{- with .Values.store.external -}}
{{- if and (eq $.Values.store.mode "external") (not (and .url .existingSecret)) -}}
{{- fail "store.mode is external: set store.external.url (s3://host:port) and store.external.existingSecret (a Secret with the keys access-key and secret-key)." -}}
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
{{- range $stage, $own := .Values.stages -}}
{{- $scaling := (mergeOverwrite (deepCopy $.Values.stageDefaults) $own).autoscaling -}}
{{- if and $scaling.enabled (eq $scaling.signal "database") -}}
{{- fail (printf "stages.%s.autoscaling.signal: waiting jobs are the workers' signal; use cpu, pods or prometheus." $stage) -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "stages.%s.autoscaling: minReplicas is greater than maxReplicas." $stage) -}}
{{- end -}}
{{- end -}}
{{- end }}
