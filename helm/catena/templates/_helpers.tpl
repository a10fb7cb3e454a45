{{/* Names. 30 characters leave room for what is put behind them: a StatefulSet's name may have 52. */}}
{{- define "catena.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{- define "catena.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- else if contains (include "catena.name" .) .Release.Name -}}
{{- include "catena.short" .Release.Name -}}
{{- else -}}
{{- include "catena.short" (printf "%s-%s" .Release.Name (include "catena.name" .)) -}}
{{- end -}}
{{- end -}}

{{/* At most 30 characters: what is cut off leaves its hash, so that two long names stay two. A Service begins with a letter. */}}
{{- define "catena.short" -}}
{{- $name := . | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name -}}{{- $name = printf "c-%s" $name -}}{{- end -}}
{{- if gt (len $name) 30 -}}
{{- printf "%s-%s" (trunc 23 $name | trimSuffix "-") (sha256sum $name | trunc 6) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- define "catena.selector" -}}
app.kubernetes.io/name: {{ include "catena.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "catena.labels" -}}
{{ include "catena.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "catena.image" -}}
{{- $image := .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.imageRegistry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Pods as the restricted profile wants them. */}}
{{- define "catena.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "catena.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What all pods of a kind share: where they run. Called with root, component, pods (the values of the kind). */}}
{{- define "catena.placement" -}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .pods.terminationGracePeriodSeconds }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- if .pods.priorityClassName }}
priorityClassName: {{ .pods.priorityClassName }}
{{- else if .root.Values.priorityClass.create }}
priorityClassName: {{ include "catena.priorityClass" .root }}
{{- end }}
topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 1
    whenUnsatisfiable: {{ .pods.spread.host }}
    labelSelector: {matchLabels: {{ include "catena.selector" . | fromYaml | toJson }}}
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: {{ .pods.spread.zone }}
    labelSelector: {matchLabels: {{ include "catena.selector" . | fromYaml | toJson }}}
{{- $selector := .pods.nodeSelector }}
{{- with .zone }}{{- $selector = merge (dict "topology.kubernetes.io/zone" .) $selector }}{{- end }}
{{- with $selector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .pods.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .pods.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- end -}}

{{/* Memory of a profile in MiB: gateways, and each shard of a backend. The limit is a quarter more. */}}
{{- define "catena.resources" -}}
{{- $broker := .root.Values.broker -}}
{{- $profile := lower ($broker.memoryProfile | default "Medium") -}}
{{- $gateway := dict "tiny" 99 "low" 387 "medium" 1946 "high" 5018 -}}
{{- $shard := dict "tiny" 102 "low" 390 "medium" 1536 "high" 5940 -}}
{{- $workers := .workers | int -}}
{{- $memory := 128 -}}
{{- if eq .component "gateway" -}}{{- $memory = get $gateway $profile -}}{{- end -}}
{{- if eq .component "backend" -}}{{- $memory = mul (get $shard $profile) $workers -}}{{- end -}}
{{- if .pods.resources -}}
{{- toJson .pods.resources -}}
{{- else -}}
{{- $requests := dict "memory" (printf "%dMi" (int $memory)) "cpu" (printf "%dm" (mul 100 $workers)) -}}
{{- $limits := dict "memory" (printf "%dMi" (int (div (mul $memory 5) 4))) -}}
{{- $limited := ($broker.generateResourceLimits | default dict).cpu | default "Enabled" -}}
{{- if and (eq (lower $limited) "enabled") (ne .component "control-plane") -}}
{{- $requests = set $requests "cpu" (toString $workers) -}}
{{- $limits = set $limits "cpu" (toString $workers) -}}
{{- end -}}
{{- toJson (dict "requests" $requests "limits" $limits) -}}
{{- end -}}
{{- end -}}

{{- define "catena.cardinality" -}}
{{- $given := .Values.broker.cardinality | default dict -}}
{{- $frontend := merge (dict) ($given.frontend | default dict) (dict "replicas" 2 "workers" 2) -}}
{{- $chain := merge (dict) ($given.backendChain | default dict) (dict "partitions" 2 "redundancyFactor" 2 "workers" 1) -}}
{{- toJson (dict "frontend" $frontend "backendChain" $chain) -}}
{{- end -}}

{{- define "catena.isEncrypted" -}}{{- if ne .Values.internalTraffic.mode "Off" -}}yes{{- end -}}{{- end -}}

{{/* Flags for the traffic between pods, as lines of a list. Called with root and component. */}}
{{- define "catena.internalFlags" -}}
{{- $mode := .root.Values.internalTraffic.mode -}}
{{- if eq $mode "Off" }}
- --internal-tls=off
{{- else if eq $mode "CsiDriver" }}
- --internal-tls=on
- --tls-cert=/etc/catena/internal/tls.crt
- --tls-key=/etc/catena/internal/tls.key
- --tls-ca=/etc/catena/internal/ca.crt
{{- else if eq .component "control-plane" }}
- --internal-tls=on
- --secrets-dir=/etc/catena/secrets
{{- else }}
- --internal-tls=on
- --join-token-file=/run/catena/token
- --data-dir=/var/lib/catena
{{- end }}
{{- end -}}

{{/* The secret with the CA of the pods. */}}
{{- define "catena.internalCa" -}}
{{- .Values.internalTraffic.caSecret | default (printf "%s-internal-ca" (include "catena.fullname" .)) -}}
{{- end -}}

{{/* A gateway or a backend makes itself a token, for which the control plane gives it its first certificate. The key of the CA is in this
     container alone. Called with root and component. */}}
{{- define "catena.join" -}}
{{- if eq .root.Values.internalTraffic.mode "OwnCa" }}
initContainers:
  - name: join
    image: {{ include "catena.image" (dict "root" .root "image" .root.Values.image) }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      - ca
      - token
      - --secrets-dir=/etc/catena/secrets
      - --cluster={{ .root.Values.clusterName }}
      - --role={{ .component }}
      - --name=$(POD_NAME)
      - --ttl=1h
      - --out=/run/catena/token
    env:
      - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
    securityContext: {{- include "catena.containerSecurity" .root | nindent 6 }}
    volumeMounts:
      - {name: internal-ca, mountPath: /etc/catena/secrets/catena-ca, readOnly: true}
      - {name: join, mountPath: /run/catena}
{{- end }}
{{- end -}}

{{/* What a pod mounts for that, and of which volumes. */}}
{{- define "catena.internalMounts" -}}
{{- $mode := .root.Values.internalTraffic.mode -}}
{{- if eq $mode "CsiDriver" }}
- {name: internal, mountPath: /etc/catena/internal, readOnly: true}
{{- else if and (eq $mode "OwnCa") (eq .component "control-plane") }}
- {name: internal-ca, mountPath: /etc/catena/secrets/catena-ca, readOnly: true}
{{- else if eq $mode "OwnCa" }}
- {name: join, mountPath: /run/catena, readOnly: true}
{{- end }}
{{- end -}}

{{- define "catena.internalVolumes" -}}
{{- if eq .root.Values.internalTraffic.mode "CsiDriver" }}
{{ include "catena.internalVolume" . }}
{{- else if eq .root.Values.internalTraffic.mode "OwnCa" }}
- {name: internal-ca, secret: {secretName: {{ include "catena.internalCa" .root }}, defaultMode: 0440}}
{{- if ne .component "control-plane" }}
- {name: join, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a process says how it is: what Prometheus asks, and the probes. */}}
{{- define "catena.healthPort" -}}
{{- ((.Values.broker.diagnostics | default dict).metrics | default dict).prometheusPort | default 9600 | int -}}
{{- end -}}

{{/* Ready is: registered and configured; a backend also in its chains, or catching up as a learner. */}}
{{- define "catena.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, failureThreshold: 150}
readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2}
livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
{{- end -}}

{{- define "catena.priorityClass" -}}
{{- include "catena.short" (printf "%s-%s" .Release.Namespace (include "catena.fullname" .)) -}}
{{- end -}}

{{- define "catena.etcdScheme" -}}{{ ternary "https" "http" .Values.etcd.tls }}{{- end -}}

{{/* Each pod's own certificate, by its name. */}}
{{- define "catena.internalVolume" -}}
{{- $issuer := .root.Values.internalTraffic.issuerRef -}}
- name: internal
  csi:
    driver: csi.cert-manager.io
    readOnly: true
    volumeAttributes:
      csi.cert-manager.io/issuer-name: {{ required "internalTraffic.issuerRef.name: CsiDriver needs the issuer that signs for the pods" $issuer.name }}
      csi.cert-manager.io/issuer-kind: {{ $issuer.kind }}
      csi.cert-manager.io/issuer-group: {{ $issuer.group }}
      csi.cert-manager.io/common-name: ${POD_NAME}
      csi.cert-manager.io/uri-sans: catena://{{ .root.Values.clusterName }}/{{ .component }}/${POD_NAME}
      csi.cert-manager.io/key-usages: digital signature,server auth,client auth
      csi.cert-manager.io/key-encoding: PKCS8
      csi.cert-manager.io/fs-group: "65532"
{{- end -}}

{{/* Where the replicas of the control plane are. */}}
{{- define "catena.controlPlanes" -}}
{{- $name := printf "%s-control-plane" (include "catena.fullname" .) -}}
{{- $scheme := ternary "https" "http" (not (empty (include "catena.isEncrypted" .))) -}}
{{- $found := list -}}
{{- range $index := until (int (include "catena.controlPlaneReplicas" .)) -}}
{{- $found = append $found (printf "%s://%s-%d.%s.%s.svc.%s:9701" $scheme $name $index $name $.Release.Namespace $.Values.clusterDomain) -}}
{{- end -}}
{{- join "," $found -}}
{{- end -}}

{{- define "catena.controlPlaneReplicas" -}}
{{- if eq .Values.controlPlane.store "Embedded" -}}1{{- else -}}{{ .Values.controlPlane.replicas }}{{- end -}}
{{- end -}}

{{/* The Service of a listener: its serviceName; else the listener's name, or the release's for `default`. */}}
{{- define "catena.listenerService" -}}
{{- $usual := ternary (include "catena.fullname" .root) .listener.name (eq .listener.name "default") -}}
{{- .listener.spec.serviceName | default $usual -}}
{{- end -}}

{{/* The secret of a port whose certificate comes by itself. */}}
{{- define "catena.portSecret" -}}
{{- $spec := (.port.tls | default dict).certManagerCertificateSpec | default dict -}}
{{- $spec.secretName | default (include "catena.short" (printf "%s-%s-%d" (include "catena.fullname" .root) .listener.name (int .port.port))) -}}
{{- end -}}

{{- define "catena.isAutomatic" -}}
{{- if eq (lower ((.tls | default dict).mode | default "")) "automatic" -}}yes{{- end -}}
{{- end -}}

{{- define "catena.usesTokens" -}}
{{- $mode := .Values.rbac.tokenReview -}}
{{- if eq $mode "Enabled" -}}yes
{{- else if eq $mode "Auto" -}}
{{- range .Values.authentications -}}{{- range .spec.authenticationMethods -}}
{{- if eq (lower .method) "serviceaccounttoken" -}}yes{{- end -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The secret with headers for an OpenTelemetry collector, if there is one. */}}
{{- define "catena.collectorSecret" -}}
{{- (((.Values.broker.diagnostics | default dict).opentelemetry | default dict).headersSecretRef) | default "" -}}
{{- end -}}

{{/* Names of secrets and config maps that gateways need, as {secrets: [], configMaps: [], either: []}. */}}
{{- define "catena.brought" -}}
{{- $root := . -}}
{{- $secrets := .Values.secrets -}}{{- with include "catena.collectorSecret" . -}}{{- $secrets = append $secrets . -}}{{- end -}}{{- $maps := .Values.configMaps -}}{{- $either := list -}}
{{- range $listener := .Values.listeners -}}{{- range $port := $listener.spec.ports -}}
{{- if include "catena.isAutomatic" $port -}}
{{- $secrets = append $secrets (include "catena.portSecret" (dict "root" $root "listener" $listener "port" $port)) -}}
{{- else if $port.tls -}}
{{- $secrets = append $secrets $port.tls.manual.secretRef -}}
{{- end -}}
{{- end -}}{{- end -}}
{{- range .Values.authentications -}}{{- range .spec.authenticationMethods -}}
{{- $method := lower .method -}}
{{- if eq $method "x509" -}}{{- $either = append $either ((.x509Settings | default dict).trustedClientCaCert | default "client-ca") -}}{{- end -}}
{{- with .passwordSettings -}}{{- $secrets = append $secrets .secretRef -}}{{- end -}}
{{- with .jwtSettings -}}
{{- with .jwksSecretRef -}}{{- $secrets = append $secrets . -}}{{- end -}}
{{- with .caCertConfigMap -}}{{- $maps = append $maps . -}}{{- end -}}
{{- end -}}
{{- with .customSettings -}}
{{- with .caCertConfigMap -}}{{- $maps = append $maps . -}}{{- end -}}
{{- with (((.auth | default dict).x509 | default dict).secretRef) -}}{{- $secrets = append $secrets . -}}{{- end -}}
{{- with .headersSecretRef -}}{{- $secrets = append $secrets . -}}{{- end -}}
{{- end -}}
{{- end -}}{{- end -}}
{{- toJson (dict "secrets" (uniq $secrets) "configMaps" (uniq $maps) "either" (uniq $either)) -}}
{{- end -}}
