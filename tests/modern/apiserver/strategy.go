package main

import (
	"context"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// strategy keeps spec and status apart and counts the generations of the spec. It finds nothing invalid.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	version                  schema.GroupVersion
	isNamespaced, isOfStatus bool
}

func (s strategy) NamespaceScoped() bool          { return s.isNamespaced }
func (s strategy) AllowCreateOnUpdate() bool      { return false }
func (s strategy) AllowUnconditionalUpdate() bool { return true }
func (s strategy) Canonicalize(runtime.Object)    {}

func (s strategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }

func (s strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (s strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

func (s strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	if status := part(object, "Status"); status.IsValid() {
		status.SetZero()
		object.(metav1.Object).SetGeneration(1)
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	if kept := part(object, s.untouched()); kept.IsValid() {
		kept.Set(part(old, s.untouched()))
	}
	generation := old.(metav1.Object).GetGeneration()
	if generation > 0 && !hasSpecOf(object, old) {
		generation++
	}
	object.(metav1.Object).SetGeneration(generation)
}

func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	path := fieldpath.MakePathOrDie("status")
	if s.isOfStatus {
		path = fieldpath.MakePathOrDie("spec")
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.version.String()): fieldpath.NewSet(path)}
}

// untouched is the part of an object that writes of this kind leave as it is.
func (s strategy) untouched() string {
	if s.isOfStatus {
		return "Spec"
	}
	return "Status"
}

func hasSpecOf(object, old runtime.Object) bool {
	return equality.Semantic.DeepEqual(part(object, "Spec").Interface(), part(old, "Spec").Interface())
}

func part(object runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName(name)
}

// statusStorage reads objects and writes their status, and does nothing else.
type statusStorage struct{ store *registry.Store }

func (s *statusStorage) New() runtime.Object { return s.store.New() }
func (s *statusStorage) Destroy()            {}

func (s *statusStorage) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

func (s *statusStorage) Update(
	ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, info, create, update, false, options)
}

func (s *statusStorage) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

func (s *statusStorage) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, object, options)
}
