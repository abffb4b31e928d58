# The five images: `docker buildx bake`, or one: `docker buildx bake vocoder`.
# To a registry: `REGISTRY=registry.example.org/media/ docker buildx bake --push`, and image.registry of the chart the same.
# For NVIDIA GPUs: `docker buildx bake gpu` (tags end in -gpu). With a bill of materials and provenance in the registry:
# `docker buildx bake --push attested`. To build the same again: `PYTHON_IMAGE=python:3.11-slim@sha256:... docker buildx bake`.

variable "REGISTRY" {
  # Ends in / unless empty.
  default = ""
}

variable "VERSION" {
  # The chart's appVersion.
  default = "0.1.0"
}

variable "PYTHON_IMAGE" {
  # Of all images; name a digest, or a copy in your own registry.
  default = "python:3.11-slim"
}

variable "PLATFORMS" {
  # "linux/amd64,linux/arm64" for both; dlib-bin and ai-edge-litert decide whether faceswap can be built.
  default = "linux/amd64"
}

group "default" {
  targets = ["service"]
}

target "common" {
  context   = "."
  platforms = split(",", PLATFORMS)
  args      = { PYTHON_IMAGE = PYTHON_IMAGE }
  labels    = { "org.opencontainers.image.version" = VERSION }
}

target "service" {
  name = service
  matrix = {
    service = ["encoder", "synthesizer", "vocoder", "faceswap", "gateway"]
  }
  inherits   = ["common"]
  dockerfile = "services/${service}/Dockerfile"
  tags       = ["${REGISTRY}likeness-${service}:${VERSION}"]
}

# The other stages compute on the CPU.
target "gpu" {
  name = "${service}-gpu"
  matrix = {
    service = ["encoder", "faceswap"]
  }
  inherits   = ["common"]
  dockerfile = "services/${service}/Dockerfile"
  args       = { VARIANT = "gpu" }
  tags       = ["${REGISTRY}likeness-${service}:${VERSION}-gpu"]
}

target "attested" {
  name = "${service}-attested"
  matrix = {
    service = ["encoder", "synthesizer", "vocoder", "faceswap", "gateway"]
  }
  inherits = ["${service}"]
  attest   = ["type=sbom", "type=provenance,mode=max"]
}
