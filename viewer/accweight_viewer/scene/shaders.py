"""The shaders of the scene: plates as tiles of one texture, labels, and the line on the ground."""

VERSION = "#version 330 core\n"

PLATES_VERTEX = (
    VERSION
    + """
layout(location = 0) in vec4 place;  // x, y, z of the upper left corner; order on its plate
layout(location = 1) in vec4 size;   // width, height; columns, rows of texels
layout(location = 2) in vec4 cell;   // x, y in the texture; frame, next frame
layout(location = 3) in vec4 look;   // unit; kind of quad; tone; 1: not widened, of tiles: fading
uniform mat4 u_matrix;
uniform float u_pixel;               // height of a pixel at depth 1
uniform float u_border;              // pixels by which edges and outlines are widened
out vec2 v_texel;
flat out vec4 v_cell;
flat out vec2 v_limit;
flat out vec4 v_look;

void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    vec2 away = corner * 2.0 - 1.0;
    vec2 at = corner * size.xy;
    vec4 plain = u_matrix * vec4(place.x + at.x, place.y - at.y, place.z, 1.0);
    if (look.y > 0.5 && look.w < 0.5) {
        float wider = look.z > 0.5 ? 2.0 : 1.0;
        at += away * (u_border * wider * u_pixel * max(plain.w, 0.0));
    }
    gl_Position = u_matrix * vec4(place.x + at.x, place.y - at.y, place.z, 1.0);
    gl_Position.z -= place.w * 5e-7 * gl_Position.w;  // a few steps of a 24-bit depth buffer
    v_texel = corner * size.zw;
    v_limit = ceil(size.zw - 0.001);
    v_cell = cell;
    v_look = look;
}
"""
)

PLATES_FRAGMENT = """
uniform sampler2DArray u_tiles;
uniform sampler2D u_colours;
uniform vec2 u_scale;      // low, high; their logarithms with LOGARITHMIC
uniform float u_phase;     // progress towards the next step, with MOVING
uniform vec3 u_tones[5];   // edge, selected, marked, not loaded yet, pointed at
uniform vec3 u_gap;
uniform vec3 u_page;
uniform vec3 u_broken[2];  // stripes of weights that are not finite
in vec2 v_texel;
flat in vec4 v_cell;
flat in vec2 v_limit;
flat in vec4 v_look;
out vec4 colour;

float stored(ivec2 at, float frame) {
    return texelFetch(u_tiles, ivec3(at, int(frame)), 0).r;
}

vec3 painted(vec2 texel) {
    ivec2 at = ivec2(clamp(texel, vec2(0.0), v_limit - 0.5) + v_cell.xy);
    float value = stored(at, v_cell.z);
    float along = floor((gl_FragCoord.x + gl_FragCoord.y) / 4.0);
    if (value < -3.0) return u_broken[int(mod(along, 2.0))];
    if (value < -1.5) return u_gap;
#ifdef MOVING
    float next = stored(at, v_cell.w);
    value = next < -1.5 ? value : mix(value, next, u_phase);
#endif
    value *= v_look.x;
#ifdef SIGNED
    float size = abs(value);
#else
    float size = value;
#endif
#ifdef LOGARITHMIC
    size = log(max(size, 1e-30));
#endif
    float share = clamp((size - u_scale.x) / (u_scale.y - u_scale.x), 0.0, 1.0);
#ifdef SIGNED
    share = 0.5 + 0.5 * sign(value) * share;
#endif
    return texelFetch(u_colours, ivec2(int(share * 254.0 + 0.5), 0), 0).rgb;
}

void main() {
    vec2 width = fwidth(v_texel);
    if (v_look.y > 0.5) {
        colour = vec4(u_tones[int(v_look.z + 0.5)], 1.0);
        return;
    }
    // if several texels fall into one pixel, four samples are averaged. A loop, because software
    // rendering evaluates both sides of a branch but exits a loop early
    int taps = max(width.x, width.y) > 1.2 ? 4 : 1;
    vec2 spread = taps == 1 ? vec2(0.0) : 0.25 * width;
    vec3 sum = vec3(0.0);
    for (int i = 0; i < taps; i++)
        sum += painted(v_texel + spread * (vec2(i & 1, i >> 1) * 2.0 - 1.0));
    colour = vec4(mix(sum / float(taps), u_page, v_look.w), 1.0);
}
"""


def plates_fragment(*, moving: bool, logarithmic: bool, signed: bool) -> str:
    """Return the fragment shader of the plates, specialised to avoid branches.

    Args:
        moving: Whether to blend with the next step.
        logarithmic: Whether colours are logarithmic.
        signed: Whether values may be negative.
    """
    chosen = {"MOVING": moving, "LOGARITHMIC": logarithmic, "SIGNED": signed}
    return VERSION + "".join(f"#define {n}\n" for n, on in chosen.items() if on) + PLATES_FRAGMENT


LABELS_VERTEX = (
    VERSION
    + """
layout(location = 0) in vec4 box;    // x, y in pixels, width, height
layout(location = 1) in vec4 ink;    // x, y in the atlas; tone; depth from 0 to 1
uniform vec2 u_window;
out vec2 v_at;
flat out float v_tone;

void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    vec2 pixel = box.xy + corner * box.zw;
    gl_Position = vec4(2.0 * pixel.x / u_window.x - 1.0, 1.0 - 2.0 * pixel.y / u_window.y,
                       ink.w * 2.0 - 1.0, 1.0);
    v_at = ink.xy + corner * box.zw;
    v_tone = ink.z;
}
"""
)

LABELS_FRAGMENT = (
    VERSION
    + """
uniform sampler2D u_atlas;  // coverage of a pixel by text, and by its halo
uniform vec3 u_inks[4];
uniform vec3 u_page;
in vec2 v_at;
flat in float v_tone;
out vec4 colour;

void main() {
    vec2 cover = texelFetch(u_atlas, ivec2(v_at), 0).rg;
    float alpha = max(cover.r, 0.75 * cover.g);
    colour = vec4(mix(u_page, u_inks[int(v_tone + 0.5)], cover.r), alpha);
}
"""
)

GROUND_VERTEX = (
    VERSION
    + """
layout(location = 0) in vec4 from;
layout(location = 1) in vec4 to;
uniform mat4 u_matrix;
uniform vec2 u_window;
uniform float u_width;               // pixels

void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    vec4 a = u_matrix * vec4(from.xyz, 1.0);
    vec4 b = u_matrix * vec4(to.xyz, 1.0);
    float near = 1e-3;               // ends behind the camera are moved in front of it
    if (a.w < near && b.w > near) a = mix(a, b, (near - a.w) / (b.w - a.w));
    if (b.w < near && a.w > near) b = mix(b, a, (near - b.w) / (a.w - b.w));
    vec2 along = (b.xy / b.w - a.xy / a.w) * u_window;
    vec2 aside = normalize(vec2(-along.y, along.x) + vec2(1e-9, 0.0)) * u_width / u_window;
    vec4 at = corner.x > 0.5 ? b : a;
    at.xy += aside * (corner.y * 2.0 - 1.0) * at.w;
    gl_Position = at;
}
"""
)

GROUND_FRAGMENT = (
    VERSION
    + """
uniform vec3 u_ink;
out vec4 colour;

void main() {
    colour = vec4(u_ink, 1.0);
}
"""
)
