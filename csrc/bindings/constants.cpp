// The numbers and names that the package shares with the kernels: each has one list, in C++, and is read from here.
#include "bindings/bindings.h"
#include "core/augment_plan.h"
#include "core/elements.h"

namespace physioclr {

void bind_constants(py::module_& m) {
  py::dict elements;
#define PHYSIOCLR_ELEMENT(name, dtype) elements[#dtype] = static_cast<int>(Element::name);
  PHYSIOCLR_ELEMENTS(PHYSIOCLR_ELEMENT)
#undef PHYSIOCLR_ELEMENT
  m.attr("ELEMENTS") = elements;  // dtype: its number

  py::list rows, moving, adding;
#define PHYSIOCLR_ROW(name, field, does)                \
  rows.append(#field);                                  \
  if (Does::does == Does::kMove) moving.append(#field); \
  if (Does::does == Does::kAdd) adding.append(#field);
  PHYSIOCLR_AUGMENTATIONS(PHYSIOCLR_ROW)
#undef PHYSIOCLR_ROW
  m.attr("AUGMENTATIONS") = py::tuple(rows);
  m.attr("TIME_MAPS") = py::tuple(moving);
  m.attr("NOISES") = py::tuple(adding);
  m.attr("PLAN_SHAPE") = py::make_tuple(static_cast<int>(kAugmentations), kSettings);
}

}  // namespace physioclr
