#pragma once
// _core.<kernel>([device, stream], *, field=value, ...): every field of the kernel's struct (ops.h) by its name. One
// that is missing, unknown or of another form is a TypeError. device: -1, or left out, for the CPU, otherwise the CUDA
// device that the caller has made current. Returns what the CPU's kernel returns, True for the GPU's. The kernel runs
// without the GIL.
//
// An array is a NumPy array, of the right dtype, dimensions and C order, or, from other libraries and unchecked,
// (address, *shape, owner); where the kernel takes a bare pointer, a NumPy array or (address, owner), 0 for none. The
// owner only has to live until the call is over, which the arguments see to.
#include <pybind11/numpy.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bindings/bindings.h"
#include "core/fields.h"
#include "core/interrupt.h"
#include "ops.h"

namespace physioclr {

[[noreturn]] inline void wrong(const char* field, const std::string& must) {
  throw py::type_error(std::string(field) + " must be " + must);
}

// ---- one value ----

inline int64_t integer(PyObject* o, const char* field) {
  const int64_t v = PyLong_Check(o) ? PyLong_AsLongLong(o) : -1;
  if (!PyLong_Check(o)) wrong(field, "an integer");
  if (v == -1 && PyErr_Occurred()) throw py::error_already_set();
  return v;
}

template <class T>
constexpr char kind_of() {
  using U = std::remove_const_t<T>;
  return std::is_same_v<U, bool>                                  ? 'b'
         : std::is_same_v<U, Half> || std::is_floating_point_v<U> ? 'f'
         : std::is_unsigned_v<U>                                  ? 'u'
         : std::is_integral_v<U>                                  ? 'i'
                                                                  : 0;
}

// The memory of a NumPy array that holds elements of type T; ndim -1: of any dimensions.
template <class T>
T* memory(PyObject* o, const char* field, int ndim) {
  const auto* a = py::detail::array_proxy(o);
  if (!(a->flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_)) wrong(field, "C-contiguous");
  if (ndim >= 0 && a->nd != ndim) wrong(field, std::to_string(ndim) + "-dimensional");
  if (!std::is_const_v<T> && !(a->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) wrong(field, "writeable");
  if constexpr (!std::is_void_v<T>) {
    const py::dtype type = py::reinterpret_borrow<py::array>(o).dtype();
    constexpr char kind = kind_of<T>();
    if (type.itemsize() != static_cast<py::ssize_t>(sizeof(T)) || (kind && type.kind() != kind))
      wrong(field,
            "of " + std::to_string(sizeof(T)) + "-byte elements of kind " + (kind ? std::string(1, kind) : "any"));
  }
  return static_cast<T*>(static_cast<void*>(a->data));
}

template <class T>
struct Convert;

template <>
struct Convert<bool> {
  static bool of(PyObject* o, const char* field) {
    if (!PyBool_Check(o)) wrong(field, "a bool");
    return o == Py_True;
  }
};
template <class T>
struct ConvertNumber {
  static T of(PyObject* o, const char* field) {
    if constexpr (std::is_floating_point_v<T>) {
      if (!PyFloat_Check(o)) wrong(field, "a float");
      return static_cast<T>(PyFloat_AS_DOUBLE(o));
    } else {
      return static_cast<T>(integer(o, field));
    }
  }
};
template <>
struct Convert<float> : ConvertNumber<float> {};
template <>
struct Convert<double> : ConvertNumber<double> {};
template <>
struct Convert<int> : ConvertNumber<int> {};
template <>
struct Convert<int64_t> : ConvertNumber<int64_t> {};
template <>
struct Convert<Similarity> : ConvertNumber<Similarity> {};
template <>
struct Convert<SimilarityOut> : ConvertNumber<SimilarityOut> {};
template <>
struct Convert<Contrast> : ConvertNumber<Contrast> {};

template <class T>
struct Convert<T*> {
  static T* of(PyObject* o, const char* field) {
    if (PyTuple_Check(o) && PyTuple_GET_SIZE(o) == 2) o = PyTuple_GET_ITEM(o, 0);
    if (PyLong_Check(o)) return reinterpret_cast<T*>(static_cast<uintptr_t>(integer(o, field)));
    if (!py::isinstance<py::array>(o)) wrong(field, "an array, (address, owner) or 0");
    return memory<T>(o, field, -1);
  }
};

// The address and the `n` extents of an array.
template <class T>
T* array(PyObject* o, const char* field, int n, int64_t* shape) {
  if (py::isinstance<py::array>(o)) {
    T* const data = memory<T>(o, field, n);
    for (int k = 0; k < n; ++k) shape[k] = py::detail::array_proxy(o)->dimensions[k];
    return data;
  }
  if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != n + 2)
    wrong(field, "an array, or (address, " + std::to_string(n) + " extents, owner)");
  for (int k = 0; k < n; ++k) shape[k] = integer(PyTuple_GET_ITEM(o, k + 1), field);
  return reinterpret_cast<T*>(static_cast<uintptr_t>(integer(PyTuple_GET_ITEM(o, 0), field)));
}
template <class T>
struct Convert<Matrix<T>> {
  static Matrix<T> of(PyObject* o, const char* field) {
    int64_t shape[2];
    T* const data = array<T>(o, field, 2, shape);
    return {data, shape[0], shape[1]};
  }
};
template <class T>
struct Convert<Cube<T>> {
  static Cube<T> of(PyObject* o, const char* field) {
    int64_t shape[3];
    T* const data = array<T>(o, field, 3, shape);
    return {data, shape[0], shape[1], shape[2]};
  }
};

template <class T>
struct Convert<Vector<T>> {
  static Vector<T> of(PyObject* o, const char* field) {
    int64_t size;
    T* const data = array<T>(o, field, 1, &size);
    return {data, size};
  }
};

// Of any dimensions: a NumPy array, or (address, number of the element type, owner).
template <class V>
struct Convert<Samples<V>> {
  static Samples<V> of(PyObject* o, const char* field) {
    if (!py::isinstance<py::array>(o)) {
      if (!PyTuple_Check(o) || PyTuple_GET_SIZE(o) != 3) wrong(field, "an array, or (address, element type, owner)");
      return {reinterpret_cast<V*>(static_cast<uintptr_t>(integer(PyTuple_GET_ITEM(o, 0), field))),
              static_cast<Element>(integer(PyTuple_GET_ITEM(o, 1), field))};
    }
    V* const data = memory<V>(o, field, -1);
    const py::dtype type = py::reinterpret_borrow<py::array>(o).dtype();
    const auto size = type.itemsize();
    const bool real = type.kind() == 'f';
    if (real ? size != 2 && size != 4 && size != 8 : type.kind() != 'i' || size != 2)
      wrong(field, "float16, float32, float64 or int16");
    return {data, !real       ? Element::kInt16
                  : size == 2 ? Element::kHalf
                  : size == 4 ? Element::kFloat
                              : Element::kDouble};
  }
};

template <>
struct Convert<AugmentPlan> {
  static AugmentPlan of(PyObject* o, const char* field) {
    const auto m = Convert<Matrix<const double>>::of(o, field);
    if (m.rows != kAugmentations || m.cols != kSettings) wrong(field, "of the shape PLAN_SHAPE");
    AugmentPlan plan;
    std::copy_n(m.data, kAugmentations * kSettings, &plan.v[0][0]);
    return plan;
  }
};

// ---- all fields of a call ----

// The names of all fields of a call, in order, as interned strings that live for ever.
template <class Call>
std::vector<PyObject*> interned_names() {
  constexpr auto leaves = leaf_names<Call>();
  static_assert(all_differ(leaves), "two fields of one call have the same name: one value would fill both");
  std::vector<PyObject*> names;
  for (const std::string_view name : leaves) names.push_back(PyUnicode_InternFromString(std::string(name).c_str()));
  return names;
}

struct Arguments {
  PyObject* const* values;
  PyObject* given;  // tuple of names
  const std::vector<PyObject*>& names;
  size_t next = 0;

  // The value of the next field. Callers that keep the struct's order are found at once.
  PyObject* take() {
    PyObject* const name = names[next];
    const Py_ssize_t n = PyTuple_GET_SIZE(given);
    Py_ssize_t k = static_cast<Py_ssize_t>(next++);
    if (k >= n || PyTuple_GET_ITEM(given, k) != name)
      for (k = 0; k < n && PyUnicode_Compare(PyTuple_GET_ITEM(given, k), name) != 0;) ++k;
    if (k == n) throw py::type_error("the field " + py::cast<std::string>(name) + " is missing");
    return values[k];
  }
  template <class Call>
  void fill(Call& call) {
    std::apply([this](auto&... member) { (one(member), ...); }, call.fields());
  }
  template <class T>
  void one(T& member) {
    if constexpr (has_fields<T>::value) {
      fill(member);
    } else {
      const char* const name = PyUnicode_AsUTF8(names[next]);
      member = Convert<T>::of(take(), name);
    }
  }
};

// Runs Python's signal handlers, which only the main thread does; true if one has raised (KeyboardInterrupt), and then
// the exception stays set in this thread.
inline bool signal_has_come() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

struct PollScope {
  explicit PollScope(InterruptPoll* poll) { interrupt_poll = poll; }
  ~PollScope() { interrupt_poll = nullptr; }
};

// host: there is no cuda::run.
template <class Call, bool host>
struct Binding {
  static inline std::vector<PyObject*> names;
  static inline PyMethodDef method;

  static PyObject* call(PyObject*, PyObject* const* args, Py_ssize_t positional, PyObject* given) {
    try {
      if ((positional != 2 && positional != 0) || !given)
        throw py::type_error("it takes (device, stream, *, field=value, ...)");
      if (PyTuple_GET_SIZE(given) > static_cast<Py_ssize_t>(names.size())) unknown(given);
      const int64_t device = positional ? integer(args[0], "device") : -1;
      const int64_t stream = positional ? integer(args[1], "stream") : 0;
      Call c{};
      Arguments{args + positional, given, names}.fill(c);
      InterruptPoll poll{&signal_has_come};
      bool good = true;
      {
        py::gil_scoped_release nogil;
        const PollScope scope(&poll);
        if (device < 0) good = cpu::run(c);
        else if constexpr (host)
          throw std::runtime_error(std::string(method.ml_name) + " has no CUDA kernel; its arrays must be on the CPU");
        else cuda::run(c, reinterpret_cast<void*>(static_cast<uintptr_t>(stream)));
      }
      if (PyErr_Occurred()) return nullptr;  // of the signal: the results are not all there
      return PyBool_FromLong(good);
    } catch (py::error_already_set& e) {
      e.restore();
    } catch (const py::builtin_exception& e) {
      PyErr_Format(PyExc_TypeError, "_core.%s: %s", method.ml_name, e.what());
    } catch (const std::bad_alloc&) {
      PyErr_Format(PyExc_MemoryError, "_core.%s: no memory for its scratch", method.ml_name);
    } catch (const std::exception& e) {
      PyErr_SetString(PyExc_RuntimeError, e.what());
    }
    return nullptr;
  }

  [[noreturn]] static void unknown(PyObject* given) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(given); ++k) {
      bool known = false;
      for (PyObject* name : names) known = known || PyUnicode_Compare(PyTuple_GET_ITEM(given, k), name) == 0;
      if (!known) throw py::type_error(py::cast<std::string>(PyTuple_GET_ITEM(given, k)) + " is no field");
    }
    throw py::type_error("a field is given twice");
  }
};

template <class Call, bool host = false>
void bind(py::module_& m, const char* name) {
  using B = Binding<Call, host>;
  B::names = interned_names<Call>();
  B::method = {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&B::call)),
               METH_FASTCALL | METH_KEYWORDS, Call::field_names};
  PyObject* const function = PyCFunction_NewEx(&B::method, nullptr, nullptr);
  if (!function) throw py::error_already_set();
  m.attr(name) = py::reinterpret_steal<py::object>(function);
}

}  // namespace physioclr
