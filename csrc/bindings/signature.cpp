// What the checks of an op look at, as a key: a call like one before need not be checked again.
#include <pybind11/numpy.h>

#include <array>
#include <cstring>

#include "bindings/bindings.h"

namespace physioclr {
namespace {

// The parts of a key. At most kParts; each holds a reference.
class Key {
 public:
  Key() = default;
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  ~Key() {
    for (size_t k = 0; k < size_; ++k) Py_DECREF(parts_[k]);
  }
  // Takes the reference over; false of no object, or of too many.
  bool add(PyObject* part) {
    if (!part) return false;
    if (size_ == kParts) {
      Py_DECREF(part);
      return false;
    }
    parts_[size_++] = part;
    return true;
  }
  bool add_borrowed(PyObject* part) {
    Py_INCREF(part);
    return add(part);
  }
  PyObject* tuple() {
    PyObject* const t = PyTuple_New(static_cast<Py_ssize_t>(size_));
    if (!t) return nullptr;
    for (size_t k = 0; k < size_; ++k) PyTuple_SET_ITEM(t, static_cast<Py_ssize_t>(k), parts_[k]);
    size_ = 0;
    return t;
  }

 private:
  static constexpr size_t kParts = 96;
  std::array<PyObject*, kParts> parts_;
  size_t size_ = 0;
};

PyObject* interned(const char* name) { return PyUnicode_InternFromString(name); }

// A tuple or list of integers as a tuple; null of anything else.
PyObject* integers(PyObject* o) {
  if (!PyTuple_CheckExact(o) && !PyList_CheckExact(o)) return nullptr;
  PyObject* const t = PySequence_Tuple(o);
  for (Py_ssize_t k = 0; t && k < PyTuple_GET_SIZE(t); ++k)
    if (!PyLong_CheckExact(PyTuple_GET_ITEM(t, k))) {
      Py_DECREF(t);
      return nullptr;
    }
  return t;
}

// A value of a type that compares as it is: 1, 1.0 and True are equal, but not to the checks.
bool add_setting(Key& key, PyObject* o) {
  if (PyTuple_CheckExact(o) || PyList_CheckExact(o)) return key.add(integers(o));
  if (o != Py_None && !PyFloat_CheckExact(o) && !PyLong_CheckExact(o) && !PyUnicode_CheckExact(o) && !PyBool_Check(o))
    return false;
  return key.add_borrowed(reinterpret_cast<PyObject*>(Py_TYPE(o))) && key.add_borrowed(o);
}

// A checked integer, or several: how many.
bool add_number(Key& key, PyObject* o) {
  if (PyLong_CheckExact(o)) return key.add_borrowed(Py_None);
  PyObject* const t = integers(o);
  if (!t) return false;
  const Py_ssize_t n = PyTuple_GET_SIZE(t);
  Py_DECREF(t);
  return key.add(PyLong_FromSsize_t(n));
}

bool add_array(Key& key, PyObject* o, PyObject* tensors) {
  static PyObject* const shape = interned("shape");
  static PyObject* const dtype = interned("dtype");
  static std::array<PyObject*, 3> const of_tensor{interned("requires_grad"), interned("is_cpu"), interned("layout")};
  if (o == Py_None) return key.add_borrowed(o);
  if (tensors == Py_None) {
    if (Py_TYPE(o) != py::detail::npy_api::get().PyArray_Type_) return false;
  } else {
    bool plain = false;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(tensors); ++k)
      plain = plain || PyTuple_GET_ITEM(tensors, k) == reinterpret_cast<PyObject*>(Py_TYPE(o));
    if (!plain) return false;
    for (PyObject* name : of_tensor)
      if (!key.add(PyObject_GetAttr(o, name))) return false;
  }
  return key.add(PyObject_GetAttr(o, shape)) && key.add(PyObject_GetAttr(o, dtype));
}

// signature(kinds, arguments, tensors): a tuple; None where an argument is of a kind that has none. kinds: one letter
// for each argument: a, an array or None; s, a setting; n, integers that are checked already. tensors: None for NumPy
// arrays, or a tuple of the types that may stand for an array.
PyObject* signature(PyObject*, PyObject* const* given, Py_ssize_t count) {
  Py_ssize_t length = 0;
  const char* const kinds =
      count == 3 && PyUnicode_Check(given[0]) ? PyUnicode_AsUTF8AndSize(given[0], &length) : nullptr;
  if (!kinds || (!PyTuple_Check(given[1]) && !PyList_Check(given[1])) ||
      (given[2] != Py_None && !PyTuple_Check(given[2]))) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "signature takes (kinds, arguments, tensors)");
    return nullptr;
  }
  if (PySequence_Fast_GET_SIZE(given[1]) != length) Py_RETURN_NONE;
  Key key;
  for (Py_ssize_t k = 0; k < length; ++k) {
    PyObject* const o = PySequence_Fast_GET_ITEM(given[1], k);
    const bool good = kinds[k] == 'a'   ? add_array(key, o, given[2])
                      : kinds[k] == 'n' ? add_number(key, o)
                                        : add_setting(key, o);
    if (good) continue;
    if (PyErr_Occurred()) return nullptr;
    Py_RETURN_NONE;
  }
  return key.tuple();
}

PyMethodDef method{"signature", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&signature)), METH_FASTCALL,
                   "signature(kinds: str, arguments: object, tensors: object) -> object"};

}  // namespace

void bind_signature(py::module_& m) {
  PyObject* const function = PyCFunction_NewEx(&method, nullptr, nullptr);
  if (!function) throw py::error_already_set();
  m.attr(method.ml_name) = py::reinterpret_steal<py::object>(function);
}

}  // namespace physioclr
