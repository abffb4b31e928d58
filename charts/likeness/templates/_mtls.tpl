{{/*
Mutual TLS between callers and stages, with certificates of cert-manager: services/common/tls.py. Used only with
mtls.enabled. cert-manager makes the Secrets; pods wait until theirs is there.
*/}}

{{/* Where stages with TLS answer the kubelet, which speaks none. */}}
{{- define "likeness.healthPort" -}}50060{{- end }}

{{- define "likeness.tlsEnv" -}}
- name: LIKENESS_TLS_DIR
  value: /etc/likeness/tls
{{- end }}

{{- define "likeness.tlsMount" -}}
- name: tls
  mountPath: /etc/likeness/tls
  readOnly: true
{{- end }}

{{/* Takes root, component. */}}
{{- define "likeness.tlsVolume" -}}
- name: tls
  secret:
    secretName: {{ include "likeness.fullname" .root }}-{{ .component }}-tls
    defaultMode: 0440
{{- end }}

{{/* Who signs: the issuer of the values, or the release's own. */}}
{{- define "likeness.issuerRef" -}}
{{- $own := dict "name" (printf "%s-ca" (include "likeness.fullname" .)) -}}
{{- merge (dict) (default $own .Values.mtls.issuerRef) (dict "kind" "Issuer" "group" "cert-manager.io") | toYaml -}}
{{- end }}

{{/* Takes root, component, usage (server auth, client auth). Names are those of the component's Service. */}}
{{- define "likeness.certificate" -}}
{{- $name := printf "%s-%s" (include "likeness.fullname" .root) .component -}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ $name }}
  labels:
    {{- include "likeness.labels" . | nindent 4 }}
spec:
  secretName: {{ $name }}-tls
  dnsNames:
    - {{ $name }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
    - {{ $name }}.{{ .root.Release.Namespace }}.svc
  usages: [digital signature, {{ .usage }}]
  duration: {{ .root.Values.mtls.duration }}
  renewBefore: {{ .root.Values.mtls.renewBefore }}
  privateKey: {algorithm: ECDSA, size: 256, encoding: PKCS8, rotationPolicy: Always}
  issuerRef:
    {{- include "likeness.issuerRef" .root | nindent 4 }}
{{- end }}
