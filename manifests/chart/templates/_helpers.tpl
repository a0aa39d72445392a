{{- define "kanary.image" -}}
{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .version }}{{ end }}
{{- end }}

{{- /* Whether the history is on the volume. */ -}}
{{- define "kanary.volume" -}}
{{ if and (not .Values.history.urlFromSecret.name) (hasPrefix "sqlite:" .Values.history.url) }}true{{ end }}
{{- end }}
