# The gateway's pod with nothing running in it, for `likeness restore`: see "Backup" in README.md.
{
  apiVersion: "v1",
  kind: "Pod",
  metadata: {name: "restore", labels: .spec.template.metadata.labels},
  spec: (
    .spec.template.spec
    | .restartPolicy = "Never"
    | .containers |= map(select(.name == "gateway"))
    | .containers[0] |= (del(.lifecycle, .startupProbe, .readinessProbe, .livenessProbe) | .command = ["sleep", "86400"])
  )
}
