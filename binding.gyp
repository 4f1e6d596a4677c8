{
  "targets": [
    {
      "target_name": "rawstor_native",
      "sources": [
        "src/native/addon.cc",
        "src/native/codec.cc",
        "src/native/crc32c.cc",
        "src/native/files.cc",
        "src/native/foreign.cc",
        "src/native/guard.cc",
        "src/native/memory.cc",
        "src/native/mounts.cc",
        "src/native/ring.cc",
        "src/native/sockets.cc",
        "src/native/watch.cc",
        "src/native/xts.cc"
      ],
      "cflags_cc!": ["-fno-rtti", "-std=gnu++17"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-fvisibility=hidden"],
      "libraries": ["-ldl"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64"]
    }
  ]
}
