#include <ltxv/ltxv.hpp>
