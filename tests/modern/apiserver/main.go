// An API server for tests, put together from the libraries that a current Kubernetes is made of. Custom resources are
// served by Kubernetes' own code: schemas, rules, status, server-side apply, watches. The kinds beside them (builtin.go)
// are Kubernetes' types on its generic storage, without the defaults, the validation and the controllers of a cluster.
// It asks for no credentials, and so listens on the loopback interface alone.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	extensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	extensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/kube-openapi/pkg/common"

	"kanary/openapi"
)

var loopback = net.ParseIP("127.0.0.1")

func main() {
	etcd := flag.String("etcd", "", "URL of etcd")
	port := flag.Int("port", 6443, "port on 127.0.0.1")
	certificates := flag.String("cert-dir", "", "folder in which a certificate is made, apiserver.crt")
	flag.Parse()
	if err := run(*etcd, *port, *certificates); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(etcd string, port int, certificates string) error {
	options, err := choose(etcd, port, certificates)
	if err != nil {
		return err
	}
	config, err := configure(options)
	if err != nil {
		return err
	}
	made, err := config.Complete().New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return err
	}
	server := made.GenericAPIServer
	if err := installBuiltin(server, config.GenericConfig.RESTOptionsGetter); err != nil {
		return err
	}
	listGroups(server)
	return server.PrepareRun().RunWithContext(genericapiserver.SetupSignalContext())
}

func choose(etcd string, port int, certificates string) (*extensionsoptions.CustomResourceDefinitionsServerOptions, error) {
	options := extensionsoptions.NewCustomResourceDefinitionsServerOptions(io.Discard, io.Discard)
	if err := options.ServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	if err := options.Complete(); err != nil {
		return nil, err
	}
	recommended := options.RecommendedOptions
	recommended.Etcd.StorageConfig.Transport.ServerList = []string{etcd}
	recommended.SecureServing.BindAddress = loopback
	recommended.SecureServing.BindPort = port
	recommended.SecureServing.ServerCert.CertDirectory = certificates
	// These ask another API server, which there is none of.
	recommended.Features.EnablePriorityAndFairness = false
	recommended.Authentication, recommended.Authorization = nil, nil
	recommended.Admission, recommended.CoreAPI = nil, nil
	return options, recommended.SecureServing.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{loopback})
}

func configure(options *extensionsoptions.CustomResourceDefinitionsServerOptions) (*extensions.Config, error) {
	config := genericapiserver.NewRecommendedConfig(extensions.Codecs)
	if err := options.ServerRunOptions.ApplyTo(&config.Config); err != nil {
		return nil, err
	}
	if err := options.RecommendedOptions.ApplyTo(config); err != nil {
		return nil, err
	}
	resources := extensions.DefaultAPIResourceConfigSource()
	if err := options.APIEnablement.ApplyTo(&config.Config, resources, extensions.Scheme); err != nil {
		return nil, err
	}
	describe(config)
	etcd := *options.RecommendedOptions.Etcd
	return &extensions.Config{
		GenericConfig: config,
		ExtraConfig: extensions.ExtraConfig{
			CRDRESTOptionsGetter: extensionsoptions.NewCRDRESTOptionsGetter(etcd, config.ResourceTransformers, config.StorageObjectCountTracker),
			ServiceResolver:      webhook.NewDefaultServiceResolver(),
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, config.LoopbackClientConfig, nil),
		},
	}, nil
}

// describe has the server publish the schemas of all kinds: kubectl explains them, and server-side apply goes by them.
func describe(config *genericapiserver.RecommendedConfig) {
	definitions := func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		all := extensionsopenapi.GetOpenAPIDefinitions(ref)
		for name, definition := range openapi.GetOpenAPIDefinitions(ref) {
			all[name] = definition
		}
		return all
	}
	namer := openapinamer.NewDefinitionNamer(extensions.Scheme, scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
}

// listGroups serves /apis, which in a cluster is done by the aggregator that stands in front of this server. The group
// of the Kanaries is listed for clients that do not request the aggregated form, which has the custom resources anyway.
func listGroups(server *genericapiserver.GenericAPIServer) {
	version := metav1.GroupVersionForDiscovery{GroupVersion: "kanary.k8s.io/v1", Version: "v1"}
	server.DiscoveryGroupManager.AddGroup(metav1.APIGroup{
		Name: "kanary.k8s.io", Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	})
	groups := server.AggregatedDiscoveryGroupManager
	handler := aggregated.WrapAggregatedDiscoveryToHandler(server.DiscoveryGroupManager, groups, groups)
	server.Handler.GoRestfulContainer.Add(handler.GenerateWebService("/apis", metav1.APIGroupList{}))
}
