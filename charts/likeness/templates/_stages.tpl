{{/* The four stages. What stands here is fixed by the programs, so it is no value. */}}
{{- define "likeness.stages" -}}
- {component: encoder, port: 50051, metricsPort: 9101, healthService: likeness.v1.EncoderService, usesStore: true, marks: false}
- {component: synthesizer, port: 50052, metricsPort: 9102, healthService: likeness.v1.SynthesizerService, usesStore: false, marks: false}
- {component: vocoder, port: 50053, metricsPort: 9103, healthService: likeness.v1.VocoderService, usesStore: false, marks: true}
- {component: faceswap, port: 50054, metricsPort: 9104, healthService: likeness.v1.FaceSwapService, usesStore: true, marks: true}
{{- end }}
