// Everything.
#pragma once

#include <loupe/check/check.hpp>
#include <loupe/check/model.hpp>
#include <loupe/format/formats.hpp>
#include <loupe/io/chat.hpp>
#include <loupe/io/checkpoint.hpp>
#include <loupe/io/gguf_writer.hpp>
#include <loupe/io/make.hpp>
#include <loupe/io/npy.hpp>
#include <loupe/lab/lab.hpp>
#include <loupe/model/decoder.hpp>
#include <loupe/model/describe.hpp>
#include <loupe/model/gemma3.hpp>
#include <loupe/model/gemma4.hpp>
#include <loupe/model/nano.hpp>
