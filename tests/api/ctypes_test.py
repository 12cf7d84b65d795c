"""The C ABI from another language: no header, no compiler, structs written out by hand and shorter than the library's own.

    ctypes_test.py LIBRARY MODEL
"""
import ctypes as c
import json
import sys
import threading


class Error(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("status", c.c_int32), ("message", c.c_char * 504)]


class EngineOptions(c.Structure):  # the first fields only
    _fields_ = [("struct_size", c.c_uint32), ("thread_count", c.c_int32), ("model", c.c_char_p)]


PROGRESS = c.CFUNCTYPE(c.c_int32, c.c_void_p, c.c_void_p)


class GenerateOptions(c.Structure):  # up to step_count
    _fields_ = [("struct_size", c.c_uint32), ("frame_count", c.c_int32), ("width_px", c.c_int32), ("height_px", c.c_int32),
                ("seconds", c.c_double), ("frames_per_second", c.c_double), ("prompt", c.c_char_p), ("negative_prompt", c.c_char_p),
                ("prompt_embeds_path", c.c_char_p), ("negative_prompt_embeds_path", c.c_char_p), ("step_count", c.c_int32),
                ("sigma_count", c.c_int32)]


class Frame(c.Structure):
    _fields_ = [("struct_size", c.c_uint32), ("index", c.c_int32), ("width_px", c.c_int32), ("height_px", c.c_int32),
                ("stride_bytes", c.c_int64), ("time_seconds", c.c_double), ("rgb", c.POINTER(c.c_uint8))]


def sized(struct, **fields):
    return struct(struct_size=c.sizeof(struct), **fields)


def main(library, model):
    ltxv = c.CDLL(library)
    ltxv.ltxv_describe.restype = ltxv.ltxv_version.restype = c.c_char_p
    assert json.loads(ltxv.ltxv_describe())["version"] == ltxv.ltxv_version().decode()
    error = sized(Error)

    engine = c.c_void_p()
    status = ltxv.ltxv_engine_open(c.byref(sized(EngineOptions, model=b"/no/such")), c.byref(engine), c.byref(error))
    assert status == -2 and b"/no/such" in error.message and not engine, (status, error.message)
    status = ltxv.ltxv_engine_open(c.byref(sized(EngineOptions, model=model.encode(), thread_count=1)), c.byref(engine), c.byref(error))
    assert status == 0, error.message

    def generate():
        ask = sized(GenerateOptions, prompt="a gr\u00fcner circle".encode(), width_px=64, height_px=32, frame_count=9, step_count=2)
        video, failed = c.c_void_p(), sized(Error)
        assert ltxv.ltxv_generate(engine, c.byref(ask), c.byref(video), c.byref(failed)) == 0, failed.message
        frame, pictures = sized(Frame), []
        while ltxv.ltxv_video_next_frame(video, c.byref(frame), None) == 0:
            pictures.append(c.string_at(frame.rgb, frame.stride_bytes * frame.height_px))
        ltxv.ltxv_video_free(video)
        assert len(pictures) == 9 and all(len(p) == 64 * 32 * 3 for p in pictures)
        return pictures

    # ctypes lets go of Python's lock during a call: two threads are inside the library at once.
    results = [None, None]
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, generate())) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] is not None and results[0] == results[1]
    ltxv.ltxv_engine_free(engine)


main(*sys.argv[1:])
