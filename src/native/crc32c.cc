// CRC-32C (Castagnoli). The hardware instruction has a latency of three cycles and a throughput of one, so that
// three independent streams over one buffer are three times as fast; their sums are joined by moving a sum over
// the zero bytes that stand for the stream behind it. Where the CPU multiplies polynomials 512 bits at a time,
// longer data is first folded into 64 bytes that have the same sum, which is some three times as fast again.
#include <string.h>

#include "napi_util.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace rawstor {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

// Eight tables for the software way: table k moves a byte over k further zero bytes.
struct Tables {
  uint32_t at[8][256];
  Tables() {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
      at[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
      for (int k = 1; k < 8; k++) at[k][i] = (at[k - 1][i] >> 8) ^ at[0][at[k - 1][i] & 0xff];
    }
  }
};

const Tables& SharedTables() {
  static const Tables tables;
  return tables;
}

uint64_t Load64(const uint8_t* data) {
  uint64_t word;
  memcpy(&word, data, sizeof(word));
  return word;
}

uint32_t Software(uint32_t crc, const uint8_t* data, size_t length) {
  const auto& t = SharedTables().at;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (; length >= 8; data += 8, length -= 8) {
    const uint64_t word = Load64(data) ^ crc;
    crc = t[7][word & 0xff] ^ t[6][(word >> 8) & 0xff] ^ t[5][(word >> 16) & 0xff] ^ t[4][(word >> 24) & 0xff] ^
          t[3][(word >> 32) & 0xff] ^ t[2][(word >> 40) & 0xff] ^ t[1][(word >> 48) & 0xff] ^ t[0][word >> 56];
  }
#endif
  for (; length > 0; data++, length--) crc = (crc >> 8) ^ t[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__)

// Moves a sum over a fixed number of zero bytes. The move is linear: the image of every byte value at every
// place of the sum, from the images of its 32 bits.
struct Shift {
  uint32_t at[4][256];
  explicit Shift(size_t zeros) {
    uint32_t image[32];
    for (int bit = 0; bit < 32; bit++) {
      uint32_t crc = 1u << bit;
      for (size_t i = 0; i < zeros; i++) crc = (crc >> 8) ^ SharedTables().at[0][crc & 0xff];
      image[bit] = crc;
    }
    for (int place = 0; place < 4; place++) {
      for (uint32_t value = 0; value < 256; value++) {
        uint32_t sum = 0;
        for (int bit = 0; bit < 8; bit++) {
          if ((value >> bit & 1) != 0) sum ^= image[place * 8 + bit];
        }
        at[place][value] = sum;
      }
    }
  }
  uint32_t operator()(uint32_t crc) const {
    return at[0][crc & 0xff] ^ at[1][crc >> 8 & 0xff] ^ at[2][crc >> 16 & 0xff] ^ at[3][crc >> 24];
  }
};

// Stream lengths: three of them make nearly 16 KiB, 4 KiB and 512 bytes.
constexpr size_t kLong = 5456, kMiddle = 1360, kShort = 168;

struct Shifts {
  Shift longer{kLong}, middle{kMiddle}, shorter{kShort};
};

__attribute__((target("sse4.2"))) inline uint32_t Triple(uint32_t crc, const uint8_t* data, size_t stream,
                                                         const Shift& shift) {
  uint64_t a = crc, b = 0, c = 0;
  const uint8_t* end = data + stream;
  for (; data < end; data += 8) {
    a = _mm_crc32_u64(a, Load64(data));
    b = _mm_crc32_u64(b, Load64(data + stream));
    c = _mm_crc32_u64(c, Load64(data + 2 * stream));
  }
  return shift(shift(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b)) ^ static_cast<uint32_t>(c);
}

__attribute__((target("sse4.2"))) uint32_t Hardware(uint32_t crc, const uint8_t* data, size_t length) {
  static const Shifts shifts;
  for (; length >= 3 * kLong; data += 3 * kLong, length -= 3 * kLong) crc = Triple(crc, data, kLong, shifts.longer);
  for (; length >= 3 * kMiddle; data += 3 * kMiddle, length -= 3 * kMiddle) {
    crc = Triple(crc, data, kMiddle, shifts.middle);
  }
  for (; length >= 3 * kShort; data += 3 * kShort, length -= 3 * kShort) crc = Triple(crc, data, kShort, shifts.shorter);
  uint64_t wide = crc;
  for (; length >= 8; data += 8, length -= 8) wide = _mm_crc32_u64(wide, Load64(data));
  crc = static_cast<uint32_t>(wide);
  for (; length > 0; data++, length--) crc = _mm_crc32_u8(crc, *data);
  return crc;
}

// x^power modulo the polynomial, reflected: the highest bit stands for x^0.
uint32_t Power(size_t power) {
  uint32_t value = 0x80000000u;
  for (size_t i = 0; i < power; i++) value = (value & 1) != 0 ? (value >> 1) ^ kPolynomial : value >> 1;
  return value;
}

// 16 bytes of data stand for the same 16 bytes so many bits further on, once their earlier half is multiplied by
// one factor and the later half by the other. The product of two reflected numbers is one bit short: hence the shift.
struct Fold {
  uint64_t earlier, later;
  explicit Fold(size_t bits)
      : earlier(static_cast<uint64_t>(Power(bits + 32)) << 1), later(static_cast<uint64_t>(Power(bits - 32)) << 1) {}
};

#define RAWSTOR_WIDE __attribute__((target("avx512f,vpclmulqdq,sse4.2")))

RAWSTOR_WIDE inline __m512i Factors(const Fold& fold) {
  return _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(fold.later), static_cast<long long>(fold.earlier)));
}

RAWSTOR_WIDE inline __m512i Folded(__m512i value, __m512i factors, __m512i onto) {
  const __m512i earlier = _mm512_clmulepi64_epi128(value, factors, 0x00);
  const __m512i later = _mm512_clmulepi64_epi128(value, factors, 0x11);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(earlier, later, onto, kXorOfThree);
}

RAWSTOR_WIDE uint32_t Wide(uint32_t crc, const uint8_t* data, size_t length) {
  constexpr size_t kStep = 256;
  if (length < 2 * kStep) return Hardware(crc, data, length);
  static const Fold by_step(8 * kStep), by_one(8 * 64);
  const __m512i step = Factors(by_step), one = Factors(by_one);
  __m512i a = _mm512_loadu_si512(data), b = _mm512_loadu_si512(data + 64);
  __m512i c = _mm512_loadu_si512(data + 128), d = _mm512_loadu_si512(data + 192);
  a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(crc))));
  for (data += kStep, length -= kStep; length >= kStep; data += kStep, length -= kStep) {
    a = Folded(a, step, _mm512_loadu_si512(data));
    b = Folded(b, step, _mm512_loadu_si512(data + 64));
    c = Folded(c, step, _mm512_loadu_si512(data + 128));
    d = Folded(d, step, _mm512_loadu_si512(data + 192));
  }
  uint8_t last[64];
  _mm512_storeu_si512(last, Folded(Folded(Folded(a, one, b), one, c), one, d));
  return Hardware(Hardware(0, last, sizeof(last)), data, length);
}

using Function_ = uint32_t (*)(uint32_t, const uint8_t*, size_t);

Function_ Choose() {
  if (!__builtin_cpu_supports("sse4.2")) return Software;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") ? Wide : Hardware;
}

uint32_t Compute(uint32_t crc, const uint8_t* data, size_t length) {
  static const Function_ chosen = Choose();
  return chosen(crc, data, length);
}

#else

uint32_t Compute(uint32_t crc, const uint8_t* data, size_t length) { return Software(crc, data, length); }

#endif

napi_value Sum(napi_env env, uint32_t value) {
  napi_value out;
  napi_create_uint32(env, value, &out);
  return out;
}

// crc32cAt(address, length, before) -> sum; `before` is the sum of the bytes ahead, 0 at the start
napi_value Crc32cAt(napi_env env, napi_callback_info info) {
  Args<3> args(env, info);
  const uint8_t* data = reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(Long(env, args[0])));
  return Sum(env, ~Compute(~Uint(env, args[2]), data, static_cast<size_t>(Long(env, args[1]))));
}

// crc32cAgrees(address, blockBytes, blocks, sums, first) -> how many blocks have the sums that stand from `first` on in an
// Uint32Array, up to the first that has not
napi_value Crc32cAgrees(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  const uint8_t* data = reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(Long(env, args[0])));
  const size_t block = Uint(env, args[1]), blocks = Uint(env, args[2]), first = Uint(env, args[4]);
  const Span sums = Bytes(env, args[3]);
  if (sums.length / 4 < first || sums.length / 4 - first < blocks) {
    napi_throw_range_error(env, nullptr, "there are not so many sums");
    return nullptr;
  }
  size_t good = 0;
  for (; good < blocks; good++) {
    uint32_t expected;
    memcpy(&expected, sums.data + (first + good) * 4, sizeof(expected));
    if (~Compute(~0u, data + good * block, block) != expected) break;
  }
  return Sum(env, static_cast<uint32_t>(good));
}

// crc32c(bytes, offset, length, before, software) -> sum
napi_value Crc32c(napi_env env, napi_callback_info info) {
  Args<5> args(env, info);
  Span span = Bytes(env, args[0]);
  const size_t offset = static_cast<size_t>(Long(env, args[1]));
  const size_t length = static_cast<size_t>(Long(env, args[2]));
  if (offset > span.length || length > span.length - offset) {
    napi_throw_range_error(env, nullptr, "the range is not inside the buffer");
    return nullptr;
  }
  bool software = false;
  napi_get_value_bool(env, args[4], &software);
  const uint32_t crc = ~Uint(env, args[3]);
  return Sum(env, ~(software ? Software : Compute)(crc, span.data + offset, length));
}

}  // namespace

void RegisterCrc32c(napi_env env, napi_value exports) {
  Function(env, exports, "crc32cAt", Crc32cAt);
  Function(env, exports, "crc32cAgrees", Crc32cAgrees);
  Function(env, exports, "crc32c", Crc32c);
}

}  // namespace rawstor
