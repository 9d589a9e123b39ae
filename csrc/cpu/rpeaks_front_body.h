// The functions of RpeaksFront for vectors of kBytes bytes. rpeaks_front.cpp includes this file once for each
// instruction set, in a namespace of its own, which is why it has no guard. Elements are worked on in the same order
// and with the same roundings whatever the width, so that every processor gets the same numbers. The parts
// build on each other in this order.

#include "cpu/rpeaks_front_vectors.h"
#include "cpu/rpeaks_front_means.h"
#include "cpu/rpeaks_front_envelopes.h"
#include "cpu/rpeaks_front_weights.h"

const RpeaksFront kFront = {means_float, means_int16, envelopes, weights, fuse, levels};
