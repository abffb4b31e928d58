# The five images: `docker buildx bake`, or one: `docker buildx bake vocoder`.
# To a registry: `REGISTRY=registry.example.org/media/ docker buildx bake --push`, and image.registry of the chart the same.

variable "REGISTRY" {
  # Ends in / unless empty.
  default = ""
}

variable "VERSION" {
  # The chart's appVersion.
  default = "0.1.0"
}

group "default" {
  targets = ["service"]
}

target "service" {
  name = service
  matrix = {
    service = ["encoder", "synthesizer", "vocoder", "faceswap", "gateway"]
  }
  context    = "."
  dockerfile = "services/${service}/Dockerfile"
  tags       = ["${REGISTRY}likeness-${service}:${VERSION}"]
  labels = {
    "org.opencontainers.image.title"    = "likeness-${service}"
    "org.opencontainers.image.version"  = VERSION
    "org.opencontainers.image.licenses" = "Apache-2.0"
  }
}
