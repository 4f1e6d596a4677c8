{
  "targets": [
    {
      "target_name": "rawstor_native",
      "sources": ["src/native/addon.cc"],
      "cflags_cc": ["-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-msse4.2"],
      "defines": ["NAPI_VERSION=8"]
    }
  ]
}
