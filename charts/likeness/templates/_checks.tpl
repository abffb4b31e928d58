{{/* Combinations that the schema lets pass and that cannot work. */}}
{{- define "likeness.checks" -}}
{{- with .Values.store.external -}}
{{- if and (eq $.Values.store.mode "external") (not (and .url .existingSecret)) -}}
{{- fail "store.mode is external: set store.external.url (s3://host:port) and store.external.existingSecret (a Secret with the keys access-key and secret-key)." -}}
{{- end -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if and (gt (int .replicas) 1) (not $.Values.database.existingSecret) -}}
{{- fail (printf "gateway.replicas is %d, but SQLite serves one: set database.existingSecret, or gateway.replicas to 1." (int .replicas)) -}}
{{- end -}}
{{- if not .allowUnauthenticated -}}
{{- if or .ingress.enabled (ne .service.type "ClusterIP") -}}
{{- fail "The gateway has no API keys in this version, so it listens on loopback and an Ingress, NodePort or LoadBalancer would reach nothing. Put your own authentication in front, then set gateway.allowUnauthenticated to true." -}}
{{- end -}}
{{- end -}}
{{- if and .ingress.enabled (not .ingress.host) -}}
{{- fail "gateway.ingress.enabled needs gateway.ingress.host." -}}
{{- end -}}
{{- end -}}
{{- end }}
