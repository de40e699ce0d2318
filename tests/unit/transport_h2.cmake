# The codec alone: what it asks of a connection is the test's.
tungate_test(test_codec_h2 tg_base PkgConfig::NGHTTP2)
target_sources(test_codec_h2 PRIVATE ${CMAKE_SOURCE_DIR}/gateway/transport/codec_h2.c
  ${CMAKE_SOURCE_DIR}/gateway/transport/codec_h2_request.c ${CMAKE_CURRENT_LIST_DIR}/h2_stage.c)
