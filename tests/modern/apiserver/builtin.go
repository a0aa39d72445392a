package main

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage/names"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

// kind is a kind that is served: an empty object and list of it, and what its resource is called.
type kind struct {
	plural, singular string
	isNamespaced     bool
	object, list     runtime.Object
}

type group struct {
	version  schema.GroupVersion
	register func(*runtime.Scheme) error
	kinds    []kind
}

// groups are the kinds that Kanary reads and writes, and those of its manifests and examples.
var groups = []group{
	{corev1.SchemeGroupVersion, corev1.AddToScheme, []kind{
		{"namespaces", "namespace", false, &corev1.Namespace{}, &corev1.NamespaceList{}},
		{"services", "service", true, &corev1.Service{}, &corev1.ServiceList{}},
		{"endpoints", "endpoints", true, &corev1.Endpoints{}, &corev1.EndpointsList{}},
		{"pods", "pod", true, &corev1.Pod{}, &corev1.PodList{}},
		{"configmaps", "configmap", true, &corev1.ConfigMap{}, &corev1.ConfigMapList{}},
		{"serviceaccounts", "serviceaccount", true, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}},
		{"secrets", "secret", true, &corev1.Secret{}, &corev1.SecretList{}},
		{"events", "event", true, &corev1.Event{}, &corev1.EventList{}},
	}},
	{appsv1.SchemeGroupVersion, appsv1.AddToScheme, []kind{
		{"deployments", "deployment", true, &appsv1.Deployment{}, &appsv1.DeploymentList{}},
		{"replicasets", "replicaset", true, &appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{}},
	}},
	{coordinationv1.SchemeGroupVersion, coordinationv1.AddToScheme, []kind{
		{"leases", "lease", true, &coordinationv1.Lease{}, &coordinationv1.LeaseList{}},
	}},
	{discoveryv1.SchemeGroupVersion, discoveryv1.AddToScheme, []kind{
		{"endpointslices", "endpointslice", true, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}},
	}},
	{eventsv1.SchemeGroupVersion, eventsv1.AddToScheme, []kind{
		{"events", "event", true, &eventsv1.Event{}, &eventsv1.EventList{}},
	}},
	{policyv1.SchemeGroupVersion, policyv1.AddToScheme, []kind{
		{"poddisruptionbudgets", "poddisruptionbudget", true, &policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}},
	}},
	{rbacv1.SchemeGroupVersion, rbacv1.AddToScheme, []kind{
		{"roles", "role", true, &rbacv1.Role{}, &rbacv1.RoleList{}},
		{"rolebindings", "rolebinding", true, &rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}},
		{"clusterroles", "clusterrole", false, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}},
		{"clusterrolebindings", "clusterrolebinding", false, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}},
	}},
}

func init() {
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, group := range groups {
		utilruntime.Must(group.register(scheme))
		utilruntime.Must(scheme.SetVersionPriority(group.version))
		// There is one version of each kind, so it is its own internal version, and nothing has to be converted.
		internal := schema.GroupVersion{Group: group.version.Group, Version: runtime.APIVersionInternal}
		for _, kind := range group.kinds {
			scheme.AddKnownTypes(internal, kind.object, kind.list)
		}
	}
	// The price: an apply marks the live object with its version while it works on it, and would take that mark for a
	// difference. What is compared is of one kind anyway.
	utilruntime.Must(equality.Semantic.AddFunc(func(metav1.TypeMeta, metav1.TypeMeta) bool { return true }))
}

func installBuiltin(server *genericapiserver.GenericAPIServer, options generic.RESTOptionsGetter) error {
	getter := optionsGetter{options, codecs.LegacyCodec(scheme.PrioritizedVersionsAllGroups()...)}
	for _, group := range groups {
		info := genericapiserver.NewDefaultAPIGroupInfo(group.version.Group, scheme, metav1.ParameterCodec, codecs)
		storage := map[string]rest.Storage{}
		for _, kind := range group.kinds {
			if err := addStorage(storage, group.version, kind, getter); err != nil {
				return err
			}
		}
		info.VersionedResourcesStorageMap[group.version.Version] = storage
		if err := install(server, &info); err != nil {
			return err
		}
	}
	return nil
}

func install(server *genericapiserver.GenericAPIServer, info *genericapiserver.APIGroupInfo) error {
	if info.PrioritizedVersions[0].Group == "" {
		return server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, info)
	}
	return server.InstallAPIGroup(info)
}

func addStorage(storage map[string]rest.Storage, version schema.GroupVersion, kind kind, options generic.RESTOptionsGetter) error {
	resource := schema.GroupResource{Group: version.Group, Resource: kind.plural}
	strategy := strategy{
		ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, version: version, isNamespaced: kind.isNamespaced,
	}
	store := &registry.Store{
		NewFunc:                   func() runtime.Object { return emptyLike(kind.object) },
		NewListFunc:               func() runtime.Object { return emptyLike(kind.list) },
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: version.Group, Resource: kind.singular},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		ResetFieldsStrategy:       strategy,
		TableConvertor:            rest.NewDefaultTableConvertor(resource),
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}); err != nil {
		return err
	}
	storage[kind.plural] = store
	if part(kind.object, "Status").IsValid() {
		ofStatus := *store
		strategy.isOfStatus = true
		ofStatus.UpdateStrategy, ofStatus.ResetFieldsStrategy = strategy, strategy
		storage[kind.plural+"/status"] = &statusStorage{&ofStatus}
	}
	return nil
}

func emptyLike(object runtime.Object) runtime.Object {
	return reflect.New(reflect.TypeOf(object).Elem()).Interface().(runtime.Object)
}

// optionsGetter has the kinds of this file stored by their own codec, and all else as the server is set up.
type optionsGetter struct {
	generic.RESTOptionsGetter
	codec runtime.Codec
}

func (g optionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := g.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	config := *options.StorageConfig
	config.Codec = g.codec
	options.StorageConfig = &config
	return options, nil
}
