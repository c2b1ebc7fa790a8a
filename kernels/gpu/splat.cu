// The GPU rasterizer's kernels. Compiled at run time with every shape as a constant (see launch.py), so a kernel takes
// pointers only. An image is cut into regions of REGION_X x REGION_Y tiles of 8x8 pixels, numbered camera by camera, row
// by row; a pair is a splat that reaches a pixel centre of a region. Contraction is off, so that `emit` and `settle`
// round alike; fmaf is written out.
//
// CAMERAS, GROUPS, GAUSSIANS, CLUSTERS (a camera's, at most), RUN (clusters per block of emit), PAIRS
// (capacity), WIDTH, HEIGHT, REGION_X, REGION_Y (at most 32 tiles), DEPTH_BITS (of a sort key), DEGREE (of the spherical harmonics), ANTIALIASED, PAIRED
// (1: a payload is a pair and gradients will be asked for; 0: a payload is a Gaussian).

#define WARP 32
#define ALL 0xffffffffu
#define CLUSTER 128
#define SIDE 8
#define COLUMNS ((WIDTH + SIDE - 1) / SIDE)
#define ROWS ((HEIGHT + SIDE - 1) / SIDE)
#define TILES (COLUMNS * ROWS)
#define REGION_TILES (REGION_X * REGION_Y)
#define REGION_COLUMNS ((COLUMNS + REGION_X - 1) / REGION_X)
#define REGIONS (REGION_COLUMNS * ((ROWS + REGION_Y - 1) / REGION_Y))
#define PIXELS (SIDE * SIDE)  // of a tile, and threads that draw it: two warps of four rows each
#define SCANNERS 1024  // threads that add up counts
#define FEW 16  // pairs that one lane writes or adds up by itself
#define NEAR_PLANE 0.01f
#define FAR_PLANE 1e10f
#define BLUR 0.3f
#define MINIMUM_ALPHA (1.0f / 255.0f)
#define LOG2_MINIMUM_ALPHA -7.994353436858858f
#define MAXIMUM_ALPHA 0.999f
#define MINIMUM_TRANSMITTANCE 1e-4f
#define MAXIMUM_EXTENT 3.33f
#define MINIMUM_COMPENSATION 1e-5f
#define LOG2E 1.4426950408889634f
#define RECORD 16    // floats of a packed Gaussian: mean, opacity, covariance (6), group, colour (3), two spare
#define POSE 16      // floats of a group in a camera: three rows of the pose, the camera's place in the group, validity
#define GRADIENT 12  // floats of a pair's gradient: mean (2), conic (3), opacity, colour (3), depth, two spare

// left to bottom: how far from the axis, per metre of depth, the Jacobian follows a mean.
struct Camera { float fx, fy, cx, cy; int first, end; float detail, left, right, top, bottom, spare[5]; };
struct Cluster { float centre[3], radius, cell[4], parent[4], near, far, group, spare; };

struct Projected {
    float u, v, depth, opacity;
    float uu, uv, vv, determinant;  // of the blurred covariance, square pixels
    bool visible;
};

__device__ __forceinline__ float dot(float a0, float a1, float a2, float b0, float b1, float b2) {
    return fmaf(a0, b0, fmaf(a1, b1, a2 * b2));
}

__device__ __forceinline__ float depth_of(const float* pose, float x, float y, float z) {
    return fmaf(pose[8], x, fmaf(pose[9], y, fmaf(pose[10], z, pose[11])));
}

__device__ __forceinline__ const float* pose_of(const float* own_poses, const float4* record) {
    return GROUPS == 1 ? own_poses : own_poses + __float_as_int(record[2].z) * POSE;
}

// EWA projection as projection.py defines it.
__device__ __forceinline__ Projected project(const float4* record, const float* pose, const Camera& camera) {
    Projected splat;
    const float4 r0 = record[0], r1 = record[1], r2 = record[2];
    const float xx = r1.x, xy = r1.y, xz = r1.z, yy = r1.w, yz = r2.x, zz = r2.y;
    float opacity = r0.w;
    const float x = fmaf(pose[0], r0.x, fmaf(pose[1], r0.y, fmaf(pose[2], r0.z, pose[3])));
    const float y = fmaf(pose[4], r0.x, fmaf(pose[5], r0.y, fmaf(pose[6], r0.z, pose[7])));
    const float z = depth_of(pose, r0.x, r0.y, r0.z);
    splat.visible = z > NEAR_PLANE && z < FAR_PLANE && pose[15] != 0.0f && opacity >= MINIMUM_ALPHA;
    splat.depth = z;
    const float inverse_z = 1.0f / (splat.visible ? z : 1.0f);
    const float tx = fminf(fmaxf(x * inverse_z, camera.left), camera.right);
    const float ty = fminf(fmaxf(y * inverse_z, camera.top), camera.bottom);
    const float jx = camera.fx * inverse_z, jy = camera.fy * inverse_z;
    const float a0 = jx * fmaf(-tx, pose[8], pose[0]), a1 = jx * fmaf(-tx, pose[9], pose[1]);
    const float a2 = jx * fmaf(-tx, pose[10], pose[2]);
    const float b0 = jy * fmaf(-ty, pose[8], pose[4]), b1 = jy * fmaf(-ty, pose[9], pose[5]);
    const float b2 = jy * fmaf(-ty, pose[10], pose[6]);
    const float p0 = dot(xx, xy, xz, a0, a1, a2), p1 = dot(xy, yy, yz, a0, a1, a2), p2 = dot(xz, yz, zz, a0, a1, a2);
    const float q0 = dot(xx, xy, xz, b0, b1, b2), q1 = dot(xy, yy, yz, b0, b1, b2), q2 = dot(xz, yz, zz, b0, b1, b2);
    const float sharp_uu = dot(a0, a1, a2, p0, p1, p2), uv = dot(b0, b1, b2, p0, p1, p2);
    const float sharp_vv = dot(b0, b1, b2, q0, q1, q2);
    splat.uu = sharp_uu + BLUR;
    splat.uv = uv;
    splat.vv = sharp_vv + BLUR;
    splat.determinant = splat.uu * splat.vv - uv * uv;
    splat.visible = splat.visible && splat.determinant > 0.0f && splat.determinant < 3e38f;
    if (ANTIALIASED) {
        const float ratio = (sharp_uu * sharp_vv - uv * uv) / splat.determinant;
        opacity *= sqrtf(fmaxf(ratio, MINIMUM_COMPENSATION));
        splat.visible = splat.visible && opacity >= MINIMUM_ALPHA;
    }
    splat.opacity = opacity;
    splat.u = fmaf(camera.fx, x * inverse_z, camera.cx);
    splat.v = fmaf(camera.fy, y * inverse_z, camera.cy);
    // Not finite, or so far out that pixel numbers would not fit an int.
    splat.visible = splat.visible && fabsf(splat.u) < 1e8f && fabsf(splat.v) < 1e8f;
    return splat;
}

// The ellipse on which alpha falls to 1/255, a little enlarged; what it leaves out is below, whatever the rounding.
struct Ellipse {
    float u, v, slope, spread, inverse_vv, limit, tip;
    int first_row, last_row;  // of pixels whose centres it spans
    __device__ __forceinline__ explicit Ellipse(const Projected& s) : u(s.u), v(s.v) {
        limit = 2.0f * __logf(255.0f * s.opacity) + 2e-3f;  // squared Mahalanobis distance
        inverse_vv = 1.0f / s.vv;
        slope = s.uv * inverse_vv;
        spread = s.determinant * inverse_vv;
        tip = s.uv * sqrtf(limit / s.uu);  // dy of its rightmost point
        const float reach = sqrtf(limit * s.vv) + 0.01f;
        first_row = (int)fminf(fmaxf(ceilf(v - reach - 0.5f), 0.0f), (float)HEIGHT);
        last_row = (int)fminf(fmaxf(floorf(v + reach - 0.5f), -1.0f), HEIGHT - 1.0f);
    }
    // Half its width at a height above the mean.
    __device__ __forceinline__ float half_width(float dy) const {
        const float squared = fmaf(-dy * inverse_vv, dy, limit) * spread;
        return fmaf(sqrtf(fmaxf(squared, 0.0f)), 1.0001f, 0.01f);
    }
    // Columns of pixels whose centres lie within it, somewhere between two rows of pixels.
    __device__ __forceinline__ void columns(int top, int bottom, int& first, int& last) const {
        const float low = top + 0.5f - v, high = bottom + 0.5f - v;
        const float right_dy = fminf(fmaxf(tip, low), high), left_dy = fminf(fmaxf(-tip, low), high);
        const float right = fmaf(slope, right_dy, u) + half_width(right_dy);
        const float left = fmaf(slope, left_dy, u) - half_width(left_dy);
        first = (int)fminf(fmaxf(ceilf(left - 0.5f), 0.0f), (float)WIDTH);
        last = (int)fminf(fmaxf(floorf(right - 0.5f), -1.0f), WIDTH - 1.0f);
    }
    // First and last cell that it reaches in a row of cells of some size in pixels; none where last < first.
    __device__ __forceinline__ void cells(int row, int width, int height, int& first, int& last) const {
        int left, right;
        columns(row * height, row * height + height - 1, left, right);
        first = left / width;
        last = right < left ? first - 1 : right / width;
    }
    __device__ __forceinline__ void regions(int row, int& first, int& last) const {
        cells(row, SIDE * REGION_X, SIDE * REGION_Y, first, last);
    }
    __device__ __forceinline__ int first_region_row() const { return first_row / (SIDE * REGION_Y); }
    __device__ __forceinline__ int last_region_row() const {
        return last_row >= first_row ? last_row / (SIDE * REGION_Y) : first_region_row() - 1;
    }
    __device__ __forceinline__ int count() const {
        int sum = 0;
        for (int row = first_region_row(); row <= last_region_row(); ++row) {
            int first, last;
            regions(row, first, last);
            sum += last - first + 1;
        }
        return sum;
    }
};

// Depth as DEPTH_BITS bits that keep its order: up to 416 m take all but a sixteenth of the range, finest near the
// camera. What falls into one value is put in order by `order`.
__device__ __forceinline__ unsigned depth_key(float depth) {
    static_assert(DEPTH_BITS >= 4 && DEPTH_BITS <= 25, "a shift below must not be negative");
    const unsigned steps = __float_as_uint(depth + 32.0f) - __float_as_uint(32.0f), fine = 15u << 21;
    if (steps < fine) return steps >> (25 - DEPTH_BITS);
    return (15u << (DEPTH_BITS - 4)) + min((steps - fine) >> (32 - DEPTH_BITS), (1u << (DEPTH_BITS - 4)) - 1u);
}

// Lay Gaussians out as records. One that is not finite gets opacity zero, so that nothing draws it.
extern "C" __global__ void pack(const float* means, const float4* quaternions, const float* scales,
                                const float* opacities, const float* sh, const int* groups, float4* records) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= GAUSSIANS) return;
    const float4 q = quaternions[at];
    const float norm = 1.0f / sqrtf(fmaxf(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w, 1e-20f));
    const float w = q.x * norm, x = q.y * norm, y = q.z * norm, z = q.w * norm;
    const float sx = scales[3 * at], sy = scales[3 * at + 1], sz = scales[3 * at + 2];
    const float a0 = (1.0f - 2.0f * (y * y + z * z)) * sx, a1 = 2.0f * (x * y - w * z) * sy, a2 = 2.0f * (x * z + w * y) * sz;
    const float b0 = 2.0f * (x * y + w * z) * sx, b1 = (1.0f - 2.0f * (x * x + z * z)) * sy, b2 = 2.0f * (y * z - w * x) * sz;
    const float c0 = 2.0f * (x * z - w * y) * sx, c1 = 2.0f * (y * z + w * x) * sy, c2 = (1.0f - 2.0f * (x * x + y * y)) * sz;
    const float xx = dot(a0, a1, a2, a0, a1, a2), xy = dot(a0, a1, a2, b0, b1, b2), xz = dot(a0, a1, a2, c0, c1, c2);
    const float yy = dot(b0, b1, b2, b0, b1, b2), yz = dot(b0, b1, b2, c0, c1, c2), zz = dot(c0, c1, c2, c0, c1, c2);
    const float mx = means[3 * at], my = means[3 * at + 1], mz = means[3 * at + 2];
    const int coefficients = 3 * (DEGREE + 1) * (DEGREE + 1);
    float total = mx + my + mz + xx + xy + xz + yy + yz + zz + opacities[at];
    bool finite = fabsf(total) < 3e38f;
    for (int k = 0; k < coefficients; ++k) finite = finite && fabsf(sh[(size_t)coefficients * at + k]) < 3e38f;
    const float* constant = sh + (size_t)coefficients * at;
    const float scale = 0.28209479177387814f;
    float4* record = records + (size_t)at * (RECORD / 4);
    record[0] = make_float4(mx, my, mz, finite ? opacities[at] : 0.0f);
    record[1] = make_float4(xx, xy, xz, yy);
    record[2] = make_float4(yz, zz, __int_as_float(groups[at]), fmaxf(fmaf(scale, constant[0], 0.5f), 0.0f));
    record[3] = make_float4(fmaxf(fmaf(scale, constant[1], 0.5f), 0.0f), fmaxf(fmaf(scale, constant[2], 0.5f), 0.0f), 0.0f, 0.0f);
}

__device__ __forceinline__ float distance_to_cube(const float* point, const float* cube) {
    float squared = 0.0f;
    for (int i = 0; i < 3; ++i) {
        const float outside = fmaxf(fmaxf(cube[i] - point[i], point[i] - cube[i] - cube[3]), 0.0f);
        squared += outside * outside;
    }
    return sqrtf(squared);
}

// Whether a camera draws a cluster: right level of detail, group present, sphere reaching into the image.
// A negative group means Gaussians of several groups: never culled.
__device__ __forceinline__ bool drawn(const Cluster& cluster, const float* poses, const Camera& camera) {
    const int group = (int)cluster.group;
    if (group < 0) return true;
    const float* pose = poses + group * POSE;
    if (pose[15] == 0.0f) return false;
    const float focal = fmaxf(camera.fx, camera.fy);
    const float own = camera.detail * distance_to_cube(pose + 12, cluster.cell);
    const float above = camera.detail * distance_to_cube(pose + 12, cluster.parent);
    if (focal * cluster.near > own || !(above < focal * cluster.far)) return false;
    const float* m = cluster.centre;
    const float x = pose[0] * m[0] + pose[1] * m[1] + pose[2] * m[2] + pose[3];
    const float y = pose[4] * m[0] + pose[5] * m[1] + pose[6] * m[2] + pose[7];
    const float z = depth_of(pose, m[0], m[1], m[2]);
    // Comparisons are written so that a sphere that is not finite is kept.
    if (z + cluster.radius <= NEAR_PLANE) return false;
    // The projection is linear about a mean that may lie 0.15 of an image beyond the edge: its slope there bounds it.
    const float left = -(camera.cx + 3.0f) / camera.fx, right = (WIDTH - camera.cx + 3.0f) / camera.fx;
    const float top = -(camera.cy + 3.0f) / camera.fy, bottom = (HEIGHT - camera.cy + 3.0f) / camera.fy;
    const float slope_x = fmaxf(-camera.left, camera.right) + 3.0f / camera.fx;
    const float slope_y = fmaxf(-camera.top, camera.bottom) + 3.0f / camera.fy;
    const float reach_x = cluster.radius * sqrtf(1.0f + slope_x * slope_x);
    const float reach_y = cluster.radius * sqrtf(1.0f + slope_y * slope_y);
    return !(x - right * z > reach_x || left * z - x > reach_x || y - bottom * z > reach_y || top * z - y > reach_y);
}

__device__ __forceinline__ int warp_inclusive_sum(int value, int lane) {
    for (int step = 1; step < WARP; step *= 2) {
        const int other = __shfl_up_sync(ALL, value, step);
        if (lane >= step) value += other;
    }
    return value;
}

// The clusters of one run that a camera draws, in order; how many. RUN is at most the threads of a block.
__device__ __forceinline__ int list_drawn(const Cluster* clusters, const float* own_poses, const Camera& camera,
                                          int from, int* list) {
    __shared__ int of_warp[CLUSTER / WARP];
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP;
    const int cluster = camera.first / CLUSTER + from + thread;
    const bool wanted = thread < RUN && from + thread < CLUSTERS && cluster * CLUSTER < camera.end &&
                        drawn(clusters[cluster], own_poses, camera);
    const unsigned word = __ballot_sync(ALL, wanted);
    if (lane == 0) of_warp[warp] = __popc(word);
    __syncthreads();
    int place = __popc(word & ((1u << lane) - 1u)), total = 0;
    for (int w = 0; w < CLUSTER / WARP; ++w) {
        place += w < warp ? of_warp[w] : 0;
        total += of_warp[w];
    }
    if (wanted) list[place] = cluster;
    __syncthreads();
    return total;
}

// Write a key and a payload for every pair of one camera's run of clusters, and return how many it has. They begin at
// `base`; with RESERVING each cluster takes what is next in `reserved` instead, so that they lie in no fixed order.
template <bool RESERVING>
__device__ __forceinline__ int write_run(const float4* records, const float* poses, const Camera* cameras,
                                         const Cluster* clusters, int block, unsigned long long base,
                                         unsigned long long* reserved, unsigned* keys, int* payloads,
                                         int* gaussian_of_pair, int* pair_start, int* pair_count) {
    __shared__ int list[RUN];
    __shared__ int sums[2][CLUSTER / WARP];
    __shared__ int bases[2];
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP, runs = (CLUSTERS + RUN - 1) / RUN;
    const int view = block / runs, from = block % runs * RUN;
    const Camera camera = cameras[view];
    const float* own_poses = poses + (size_t)view * GROUPS * POSE;
    const int total = list_drawn(clusters, own_poses, camera, from, list);
    int written = 0;
    for (int i = 0; i < total; ++i) {
        const int gaussian = list[i] * CLUSTER + thread;
        Projected splat;
        splat.visible = false;
        if (gaussian >= camera.first && gaussian < camera.end) {
            const float4* record = records + (size_t)gaussian * (RECORD / 4);
            splat = project(record, pose_of(own_poses, record), camera);
        }
        if (!splat.visible) splat.opacity = splat.uu = splat.vv = splat.determinant = 1.0f;
        const Ellipse ellipse(splat);
        const int first_row = ellipse.first_region_row(), last_row = ellipse.last_region_row();
        // Most splats lie in one row of regions, which is then looked up once.
        int pairs = 0, first_column = 0, last_column = -1;
        if (splat.visible && first_row == last_row) {
            ellipse.regions(first_row, first_column, last_column);
            pairs = last_column - first_column + 1;
        } else if (splat.visible) {
            pairs = ellipse.count();
        }
        const int inclusive = warp_inclusive_sum(pairs, lane);
        if (lane == WARP - 1) sums[i % 2][warp] = inclusive;
        __syncthreads();
        int place = inclusive - pairs, all = 0;
        for (int w = 0; w < CLUSTER / WARP; ++w) {
            place += w < warp ? sums[i % 2][w] : 0;
            all += sums[i % 2][w];
        }
        if (all == 0) continue;
        if (RESERVING) {
            if (thread == 0) {
                const unsigned long long next = atomicAdd(reserved, (unsigned long long)all);
                bases[i % 2] = (int)min(next, (unsigned long long)PAIRS);
            }
            __syncthreads();
            place += bases[i % 2];
        } else {
            place += (int)min(base + written, (unsigned long long)PAIRS);
        }
        written += all;
#if PAIRED
        if (pairs > 0) {
            pair_start[(size_t)view * GAUSSIANS + gaussian] = place;
            if (RESERVING) pair_count[(size_t)view * GAUSSIANS + gaussian] = pairs;
        }
#endif
        const auto put = [&](int at, int row, int column, unsigned depth, int owner) {
            if (at >= PAIRS) return;
            keys[at] = ((unsigned)(view * REGIONS + row * REGION_COLUMNS + column) << DEPTH_BITS) | depth;
#if PAIRED
            payloads[at] = at;
            gaussian_of_pair[at] = owner;
#else
            payloads[at] = owner;
#endif
        };
        const unsigned depth = splat.visible ? depth_key(splat.depth) : 0u;
        if (pairs > 0 && pairs <= FEW)
            for (int row = first_row; row <= last_row; ++row) {
                if (first_row < last_row) ellipse.regions(row, first_column, last_column);
                for (int column = first_column; column <= last_column; ++column)
                    put(place++, row, column, depth, gaussian);
            }
        // A splat with many pairs is shared out to the warp, a row of regions a lane.
        for (unsigned large = __ballot_sync(ALL, pairs > FEW); large; large &= large - 1) {
            const int owner = __ffs(large) - 1;
            Ellipse shared = ellipse;
            shared.u = __shfl_sync(ALL, ellipse.u, owner);
            shared.v = __shfl_sync(ALL, ellipse.v, owner);
            shared.slope = __shfl_sync(ALL, ellipse.slope, owner);
            shared.spread = __shfl_sync(ALL, ellipse.spread, owner);
            shared.inverse_vv = __shfl_sync(ALL, ellipse.inverse_vv, owner);
            shared.limit = __shfl_sync(ALL, ellipse.limit, owner);
            shared.tip = __shfl_sync(ALL, ellipse.tip, owner);
            const int top = __shfl_sync(ALL, first_row, owner), bottom = __shfl_sync(ALL, last_row, owner);
            const unsigned its_depth = __shfl_sync(ALL, depth, owner);
            const int its_gaussian = __shfl_sync(ALL, gaussian, owner);
            int its_place = __shfl_sync(ALL, place, owner);
            for (int rows = top; rows <= bottom; rows += WARP) {
                const int row = rows + lane;
                int first = 0, last = -1;
                if (row <= bottom) shared.regions(row, first, last);
                const int sum = warp_inclusive_sum(last - first + 1, lane);
                int at = its_place + sum - (last - first + 1);
                for (int column = first; column <= last; ++column) put(at++, row, column, its_depth, its_gaussian);
                its_place += __shfl_sync(ALL, sum, WARP - 1);
            }
        }
    }
    return written;
}

// Write all pairs, in no fixed order, and how many each camera has in each run of clusters, and in all. One block of
// CLUSTER threads per camera and run.
extern "C" __global__ void __launch_bounds__(CLUSTER)
emit(const float4* records, const float* poses, const Camera* cameras, const Cluster* clusters,
     const unsigned long long* none_reserved, const unsigned long long* none_needed,
#if PAIRED
     const int* no_pairs, unsigned long long* reserved, unsigned long long* needed, int* counts, unsigned* keys,
     int* payloads, int* gaussian_of_pair, int* pair_start, int* pair_count) {
#else
     unsigned long long* reserved, unsigned long long* needed, int* counts, unsigned* keys, int* payloads) {
    int *gaussian_of_pair = nullptr, *pair_start = nullptr, *pair_count = nullptr;
#endif
    const int pairs = write_run<true>(records, poses, cameras, clusters, blockIdx.x, 0, reserved, keys, payloads,
                                      gaussian_of_pair, pair_start, pair_count);
    if (threadIdx.x > 0) return;
    counts[blockIdx.x] = pairs;
    if (pairs) atomicAdd(needed + blockIdx.x / ((CLUSTERS + RUN - 1) / RUN), (unsigned long long)pairs);
}

// Where each camera's pairs end if cameras lie in order, what each needs, and whether it ends beyond the room. One block.
extern "C" __global__ void __launch_bounds__(SCANNERS)
sum_up(const unsigned long long* needed, unsigned long long* ends, int* pairs, bool* overflow) {
    __shared__ unsigned long long sums[SCANNERS];
    const int thread = threadIdx.x, each = (CAMERAS + SCANNERS - 1) / SCANNERS;
    const int first = min(thread * each, CAMERAS), end = min(first + each, CAMERAS);
    unsigned long long sum = 0;
    for (int view = first; view < end; ++view) sum += needed[view];
    sums[thread] = sum;
    __syncthreads();
    for (int step = 1; step < SCANNERS; step *= 2) {
        const unsigned long long before = thread >= step ? sums[thread - step] : 0;
        __syncthreads();
        sums[thread] += before;
        __syncthreads();
    }
    unsigned long long its_end = sums[thread] - sum;
    for (int view = first; view < end; ++view) {
        its_end += needed[view];
        ends[view] = its_end;
        pairs[view] = (int)min(needed[view], 0x7fffffffull);
        overflow[view] = its_end > PAIRS;
    }
}

// Give the room that no pair took the greatest key, so that it sorts to the end. Where there was too little room write
// all pairs again, camera by camera, so that it is the same cameras that lack some every time.
extern "C" __global__ void __launch_bounds__(CLUSTER)
settle(const float4* records, const float* poses, const Camera* cameras, const Cluster* clusters,
       const int* counts, const unsigned long long* ends, const unsigned* keys_before, const int* payloads_before,
#if PAIRED
       const int* gaussians_before, const int* starts_before, unsigned* keys, int* payloads, int* gaussian_of_pair,
       int* pair_start) {
#else
       unsigned* keys, int* payloads) {
    int *gaussian_of_pair = nullptr, *pair_start = nullptr;
#endif
    const unsigned long long all = ends[CAMERAS - 1];
    if (all <= PAIRS) {
        const int stride = gridDim.x * CLUSTER;
        for (int at = (int)all + blockIdx.x * CLUSTER + threadIdx.x; at < PAIRS; at += stride) keys[at] = ALL;
        return;
    }
    const int runs = (CLUSTERS + RUN - 1) / RUN;
    for (int block = blockIdx.x; block < CAMERAS * runs; block += gridDim.x) {
        const int view = block / runs;
        unsigned long long base = view > 0 ? ends[view - 1] : 0;
        for (int run = view * runs; run < block; ++run) base += counts[run];
        write_run<false>(records, poses, cameras, clusters, block, base, nullptr, keys, payloads, gaussian_of_pair,
                         pair_start, nullptr);
    }
}

// Transpose a matrix of 32 x 32 bits, a row a lane: afterwards bit i of lane p is what bit p of lane i was.
__device__ __forceinline__ unsigned transpose(unsigned bits, int lane) {
    unsigned mask = 0x0000ffffu;
#pragma unroll
    for (int step = 16; step > 0; step /= 2, mask ^= mask << step) {
        const unsigned other = __shfl_xor_sync(ALL, bits, step);
        bits = lane & step ? (bits & ~mask) | ((other & ~mask) >> step) : (bits & mask) | ((other & mask) << step);
    }
    return bits;
}

__device__ __forceinline__ int gaussian_of(int payload, const int* gaussian_of_pair) {
    return PAIRED ? gaussian_of_pair[payload] : payload;
}

// After the sort: where each region's run starts, pairs of equal key put in order of their full depth, then index, and
// which pairs reach each tile of the region: bit p of reached[w][t] is whether pair 32 w + p reaches tile t, that is
// (t % REGION_X, t / REGION_X). `reached` begins as zero.
extern "C" __global__ void order(const float4* records, const float* poses, const Camera* cameras, const unsigned* keys,
                                 const int* payloads,
#if PAIRED
                                 const int* gaussian_of_pair, int* ordered, int* starts) {
#else
                                 const unsigned* none_reached, int* ordered, int* starts, unsigned* reached) {
    const int* gaussian_of_pair = nullptr;
#endif
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned key = at < PAIRS ? keys[at] : ALL, before = at > 0 && at < PAIRS ? keys[at - 1] : ALL;
    const unsigned after = at + 1 < PAIRS ? keys[at + 1] : ALL;
    const int regions = CAMERAS * REGIONS, region = min((int)(key >> DEPTH_BITS), regions);
    if (at < PAIRS) {
        const int previous = at > 0 ? min((int)(before >> DEPTH_BITS), regions) : -1;
        for (int r = previous + 1; r <= region; ++r) starts[r] = at;
        if (at == PAIRS - 1)
            for (int r = region + 1; r <= regions; ++r) starts[r] = PAIRS;
    }
    const bool used = key != ALL, tied = used && (key == before || key == after);
    const int payload = used ? payloads[at] : 0, view = used ? region / REGIONS : 0;
    const float* own_poses = poses + (size_t)view * GROUPS * POSE;
    int place = at;
    if (tied) {
        int first = at, last = at;
        while (first > 0 && keys[first - 1] == key) --first;
        while (last + 1 < PAIRS && keys[last + 1] == key) ++last;
        place = first;
        const int own_gaussian = gaussian_of(payload, gaussian_of_pair);
        float own_depth = 0.0f;
        for (int pass = 0; pass < 2; ++pass)
            for (int i = pass ? first : at; i <= (pass ? last : at); ++i) {
                const int gaussian = gaussian_of(payloads[i], gaussian_of_pair);
                const float4* record = records + (size_t)gaussian * (RECORD / 4);
                const float4 mean = record[0];
                const float depth = depth_of(pose_of(own_poses, record), mean.x, mean.y, mean.z);
                if (!pass) own_depth = depth;
                else place += depth < own_depth || (depth == own_depth && gaussian < own_gaussian);
            }
    }
    if (used) ordered[place] = payload;
#if !PAIRED
    unsigned tiles = 0;
    if (used) {
        const float4* record = records + (size_t)payload * (RECORD / 4);
        const Ellipse ellipse(project(record, pose_of(own_poses, record), cameras[view]));
        const int left = region % REGIONS % REGION_COLUMNS * REGION_X;
        const int top = region % REGIONS / REGION_COLUMNS * REGION_Y;
        const int last_row = min(ellipse.last_row / SIDE, top + REGION_Y - 1);
        for (int row = max(ellipse.first_row / SIDE, top); row <= last_row; ++row) {
            int first, last;
            ellipse.cells(row, SIDE, SIDE, first, last);
            first = max(first - left, 0);
            last = min(last - left, REGION_X - 1);
            if (first <= last) tiles |= ((2u << last) - (1u << first)) << (REGION_X * (row - top));
        }
    }
    const int lane = threadIdx.x % WARP;
    if (!__any_sync(ALL, tied)) {
        // Nobody else writes this warp's words.
        const unsigned pairs = transpose(tiles, lane);
        if (at < PAIRS) reached[at] = pairs;
    } else {
        for (; tiles; tiles &= tiles - 1)
            atomicOr(reached + (place / WARP * WARP + __ffs(tiles) - 1), 1u << place % WARP);
    }
#endif
}

__device__ __forceinline__ float3 colour_of(const float4* record, const float* sh, int gaussian, const float* pose) {
    const float4 r3 = record[3];
    float3 colour = {record[2].w, r3.x, r3.y};
#if DEGREE > 0
    const float4 mean = record[0];
    float x = mean.x - pose[12], y = mean.y - pose[13], z = mean.z - pose[14];
    const float norm = rsqrtf(fmaxf(x * x + y * y + z * z, 1e-20f));
    x *= norm; y *= norm; z *= norm;
    float basis[(DEGREE + 1) * (DEGREE + 1)];
    basis[0] = 0.28209479177387814f;
    basis[1] = -0.4886025119029199f * y;
    basis[2] = 0.4886025119029199f * z;
    basis[3] = -0.4886025119029199f * x;
#if DEGREE > 1
    basis[4] = 1.0925484305920792f * x * y;
    basis[5] = -1.0925484305920792f * y * z;
    basis[6] = 0.31539156525252005f * (3.0f * z * z - 1.0f);
    basis[7] = -1.0925484305920792f * x * z;
    basis[8] = 0.5462742152960396f * (x * x - y * y);
#endif
#if DEGREE > 2
    basis[9] = -0.5900435899266435f * y * (3.0f * x * x - y * y);
    basis[10] = 2.890611442640554f * x * y * z;
    basis[11] = -0.4570457994644658f * y * (5.0f * z * z - 1.0f);
    basis[12] = 0.3731763325901154f * z * (5.0f * z * z - 3.0f);
    basis[13] = -0.4570457994644658f * x * (5.0f * z * z - 1.0f);
    basis[14] = 1.445305721320277f * z * (x * x - y * y);
    basis[15] = -0.5900435899266435f * x * (x * x - 3.0f * y * y);
#endif
    const float* coefficients = sh + (size_t)gaussian * (3 * (DEGREE + 1) * (DEGREE + 1));
    colour = {0.5f, 0.5f, 0.5f};
    for (int k = 0; k < (DEGREE + 1) * (DEGREE + 1); ++k) {
        colour.x += coefficients[3 * k] * basis[k];
        colour.y += coefficients[3 * k + 1] * basis[k];
        colour.z += coefficients[3 * k + 2] * basis[k];
    }
    colour = {fmaxf(colour.x, 0.0f), fmaxf(colour.y, 0.0f), fmaxf(colour.z, 0.0f)};
#endif
    return colour;
}

__device__ __forceinline__ float exp2_fast(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// A tile's next splats in shared memory, each half of them from far to near, so that the nearest is the highest bit of a
// mask. Of a splat: mean relative to the tile's corner, conic xx, conic xy | conic yy, base-2 logarithm of the opacity,
// depth, red | green, blue, opacity. The conic is scaled to give the base-2 logarithm of the Gaussian.
struct Batch {
    float4 splats[PIXELS][3];
    unsigned cover[2][PIXELS];  // pixels whose centres its ellipse covers, four rows each: bit 8 y + x
};

// Each thread prepares one splat of the tile.
__device__ __forceinline__ void prepare(Batch& batch, int slot, int gaussian, const float4* records, const float* sh,
                                        const float* own_poses, const Camera& camera, int left, int top) {
    const float4* record = records + (size_t)gaussian * (RECORD / 4);
    const float* pose = pose_of(own_poses, record);
    const Projected splat = project(record, pose, camera);
    const Ellipse ellipse(splat);
    unsigned upper = 0, lower = 0;
#pragma unroll
    for (int row = 0; row < SIDE; ++row) {
        const float dy = top + row + 0.5f - ellipse.v;
        const float middle = fmaf(ellipse.slope, dy, ellipse.u) - left - 0.5f, half = ellipse.half_width(dy);
        const int first = max(__float2int_ru(middle - half), 0), last = min(__float2int_rd(middle + half), SIDE - 1);
        const unsigned covered = first <= last ? (2u << last) - (1u << first) : 0u;
        if (row < SIDE / 2) upper |= covered << (SIDE * row);
        else lower |= covered << (SIDE * (row - SIDE / 2));
    }
    const float3 colour = colour_of(record, sh, gaussian, pose);
    const float scale = -0.5f * LOG2E / splat.determinant;
    batch.splats[slot][0] = make_float4(splat.u - left, splat.v - top, scale * splat.vv, -2.0f * scale * splat.uv);
    batch.splats[slot][1] = make_float4(scale * splat.uu, __log2f(splat.opacity), splat.depth, colour.x);
    batch.splats[slot][2] = make_float4(colour.y, colour.z, splat.opacity, 0.0f);
    batch.cover[0][slot] = upper;
    batch.cover[1][slot] = lower;
}

struct Pixel {
    float transmittance, red, green, blue, depth;  // transmittance is negative once the pixel has stopped
};

__device__ __forceinline__ int highest(unsigned bits) { return 31 - __clz(bits); }

// Base-2 logarithm of a splat's alpha at a pixel; above that of its opacity only by rounding, and then it is not drawn.
__device__ __forceinline__ float log_alpha(const float4& place, const float4& weight, float dx, float dy) {
    return fmaf(dx, fmaf(place.z, dx, place.w * dy), fmaf(weight.x * dy, dy, weight.y));
}

__device__ __forceinline__ bool blends(float exponent, const float4& weight) {
    return exponent >= LOG2_MINIMUM_ALPHA && exponent <= weight.y;
}

// Put a splat behind what a pixel shows; false where the pixel stops before it. An alpha of zero changes nothing.
__device__ __forceinline__ bool put_behind(Pixel& pixel, float alpha, const float4* splat, const float4& weight) {
    const float next = fmaf(-alpha, pixel.transmittance, pixel.transmittance);
    if (next <= MINIMUM_TRANSMITTANCE) {
        pixel.transmittance = -pixel.transmittance;
        return false;
    }
    const float4 tint = splat[2];
    const float w = alpha * pixel.transmittance;
    pixel.red = fmaf(w, weight.w, pixel.red);
    pixel.green = fmaf(w, tint.x, pixel.green);
    pixel.blue = fmaf(w, tint.y, pixel.blue);
    pixel.depth = fmaf(w, weight.z, pixel.depth);
    pixel.transmittance = next;
    return true;
}

// Blend the splats that cover a thread's pixel, near to far: those of `covering`, then those of `rest`. Two at a time,
// since waiting for the steps of one takes longest.
__device__ __forceinline__ void blend_pixel(Pixel& pixel, unsigned covering, unsigned rest, const Batch& batch, float x,
                                            float y) {
    if (!(pixel.transmittance > 0.0f)) return;
    const float4* half = batch.splats[0];
    while (covering | rest) {
        // A lane goes on to the second half when it is done with the first, whatever its neighbours do.
        if (!covering) {
            covering = rest;
            rest = 0;
            half = batch.splats[WARP];
        }
        const int slot0 = highest(covering);
        covering ^= 1u << slot0;
        const bool second = covering != 0;
        const int slot1 = second ? highest(covering) : slot0;
        covering &= ~(1u << slot1);
        const float4 *splat0 = half + 3 * slot0, *splat1 = half + 3 * slot1;
        const float4 place0 = splat0[0], weight0 = splat0[1], place1 = splat1[0], weight1 = splat1[1];
        const float exponent0 = log_alpha(place0, weight0, x - place0.x, y - place0.y);
        const float exponent1 = log_alpha(place1, weight1, x - place1.x, y - place1.y);
        const float alpha0 = blends(exponent0, weight0) ? fminf(exp2_fast(exponent0), MAXIMUM_ALPHA) : 0.0f;
        const float alpha1 = second && blends(exponent1, weight1) ? fminf(exp2_fast(exponent1), MAXIMUM_ALPHA) : 0.0f;
        if (!put_behind(pixel, alpha0, splat0, weight0) || !put_behind(pixel, alpha1, splat1, weight1)) return;
    }
}

// The tile of a block: which camera, where, and its region's list.
struct Tile {
    int view, left, top, start, end, within;
    __device__ __forceinline__ Tile(const int* starts, const int* schedule) {
        const int region = schedule[blockIdx.x / REGION_TILES];
        within = blockIdx.x % REGION_TILES;
        view = region / REGIONS;
        left = (region % REGIONS % REGION_COLUMNS * REGION_X + within % REGION_X) * SIDE;
        top = (region % REGIONS / REGION_COLUMNS * REGION_Y + within / REGION_X) * SIDE;
        start = starts[region];
        end = starts[region + 1];
    }
    __device__ __forceinline__ bool outside() const { return left >= WIDTH || top >= HEIGHT; }
};

// Draw one tile front to back. Threads first take a splat each and mark the pixels it covers; transposed, that tells
// each pixel its splats, so that no time goes to splats that miss a pixel.
extern "C" __global__ void __launch_bounds__(PIXELS, 16)
blend(const float4* records, const float* sh, const float* poses, const Camera* cameras, const int* ordered,
#if PAIRED
      const int* gaussian_of_pair,
#else
      const unsigned* reached,
#endif
      const int* starts, const int* schedule, float* rgb, float* depth, float* alpha) {
    __shared__ Batch batch;
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP, own = thread ^ (WARP - 1);
    const Tile tile(starts, schedule);
    if (tile.outside()) return;
    const Camera camera = cameras[tile.view];
    const float* own_poses = poses + (size_t)tile.view * GROUPS * POSE;
    const int image_x = tile.left + thread % SIDE, image_y = tile.top + thread / SIDE;
    const bool inside = image_x < WIDTH && image_y < HEIGHT;
    const float x = thread % SIDE + 0.5f, y = thread / SIDE + 0.5f;
    Pixel pixel = {inside ? 1.0f : -1.0f, 0.0f, 0.0f, 0.0f, 0.0f};

    // Draw up to PIXELS splats, one given to each thread (-1: none); whether some pixel still takes more.
    const auto draw = [&](int gaussian) {
        if (gaussian >= 0)
            prepare(batch, own, gaussian, records, sh, own_poses, camera, tile.left, tile.top);
        else
            batch.cover[0][own] = batch.cover[1][own] = 0;
        __syncthreads();
        const unsigned first = transpose(batch.cover[warp][lane], lane);
        blend_pixel(pixel, first, transpose(batch.cover[warp][WARP + lane], lane), batch, x, y);
        return __syncthreads_or(pixel.transmittance > 0.0f) != 0;
    };
#if PAIRED
    int pair = tile.start + thread < tile.end ? ordered[tile.start + thread] : -1;
    for (int from = tile.start; from < tile.end; from += PIXELS) {
        const int gaussian = pair >= 0 ? gaussian_of_pair[pair] : -1;
        pair = from + PIXELS + thread < tile.end ? ordered[from + PIXELS + thread] : -1;
        if (!draw(gaussian)) break;
    }
#else
    // The places in the region's list of the splats that reach this tile pass through a queue. A thread looks at a word
    // of `reached` at a time; most have nothing for most tiles.
    __shared__ int queue[(WARP + 1) * PIXELS];
    __shared__ int found[2];
    int head = 0, tail = 0;
    bool live = true;
    for (int from = tile.start / WARP * WARP; live && from < tile.end; from += WARP * PIXELS) {
        const int first = from + WARP * thread;
        unsigned hits = first < tile.end ? reached[first + tile.within] : 0u;
        if (first < tile.start) hits &= ~0u << (tile.start - first);
        if (first + WARP > tile.end && hits) hits &= (1u << (tile.end - first)) - 1u;
        if (!__syncthreads_or(hits)) continue;
        const int through = warp_inclusive_sum(__popc(hits), lane);
        if (lane == WARP - 1) found[warp] = through;
        // What was left waiting, less than a batch, moves to the front.
        const int waiting = head + thread < tail ? queue[head + thread] : -1;
        __syncthreads();
        if (waiting >= 0) queue[thread] = waiting;
        int place = tail - head + through - __popc(hits) + (warp ? found[0] : 0);
        tail += found[0] + found[1] - head;
        head = 0;
        for (; hits; hits &= hits - 1) queue[place++] = first + __ffs(hits) - 1;
        __syncthreads();
        for (; live && tail - head >= PIXELS; head += PIXELS) live = draw(ordered[queue[head + thread]]);
    }
    if (live && head < tail) draw(head + thread < tail ? ordered[queue[head + thread]] : -1);
#endif
    if (inside) {
        const size_t at = ((size_t)tile.view * HEIGHT + image_y) * WIDTH + image_x;
        rgb[3 * at] = pixel.red;
        rgb[3 * at + 1] = pixel.green;
        rgb[3 * at + 2] = pixel.blue;
        depth[at] = pixel.depth;
        alpha[at] = 1.0f - fabsf(pixel.transmittance);
    }
}

#if PAIRED
// What a pixel does to a splat: dL/d(log alpha) by way of alpha, and the splat's weight in the pixel.
struct Mark { float d_exponent, weight; };

// Gradient of one tile's image with respect to its pairs. Walks front to back like blend: with weight w_i = a_i T_i,
// value c_i and cotangent g of a pixel, dL/da_i = T_i (c_i . g) - (sum_{j > i} w_j (c_j . g)) / (1 - a_i).
// First each lane takes a pixel and leaves a mark for every splat that it draws; then each takes a splat and adds up
// its marks, pixel by pixel: no lane works on what is not drawn, and the order of the sums is fixed.
extern "C" __global__ void __launch_bounds__(PIXELS, 8)
blend_backward(const float4* records, const float* sh, const float* poses, const Camera* cameras, const int* ordered,
               const int* gaussian_of_pair, const int* starts, const int* schedule, const float* rgb,
               const float* depth, const float* alpha, const float* d_rgb, const float* d_depth, const float* d_alpha,
               float4* gradients) {
    __shared__ Batch batch;
    __shared__ Mark marks[PIXELS / WARP][WARP][WARP + 1];  // by warp, splat, pixel; odd strides spread over the banks
    __shared__ float4 cotangents[PIXELS];
    __shared__ float others[PIXELS][11];  // sums of the warp that does not finish a splat
    const int thread = threadIdx.x, lane = thread % WARP, warp = thread / WARP, own = thread ^ (WARP - 1);
    const Tile tile(starts, schedule);
    if (tile.outside()) return;
    const Camera camera = cameras[tile.view];
    const float* own_poses = poses + (size_t)tile.view * GROUPS * POSE;
    const int image_x = tile.left + thread % SIDE, image_y = tile.top + thread / SIDE;
    const bool inside = image_x < WIDTH && image_y < HEIGHT;
    const float x = thread % SIDE + 0.5f, y = thread / SIDE + 0.5f;
    const size_t at = inside ? ((size_t)tile.view * HEIGHT + image_y) * WIDTH + image_x : 0;
    const float g0 = d_rgb[3 * at], g1 = d_rgb[3 * at + 1], g2 = d_rgb[3 * at + 2], g3 = d_depth[at], g4 = d_alpha[at];
    cotangents[thread] = make_float4(g0, g1, g2, g3);
    float transmittance = inside ? 1.0f : -1.0f;
    float behind = rgb[3 * at] * g0 + rgb[3 * at + 1] * g1 + rgb[3 * at + 2] * g2 + depth[at] * g3 + alpha[at] * g4;
    bool live = true;
    for (int from = tile.start; from < tile.end; from += PIXELS) {
        const int pair = from + thread < tile.end ? ordered[from + thread] : -1;
        if (!live) {
            // What lies behind the last stop has no influence.
            for (int k = 0; pair >= 0 && k < GRADIENT / 4; ++k)
                gradients[(size_t)pair * (GRADIENT / 4) + k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            continue;
        }
        if (pair >= 0)
            prepare(batch, own, gaussian_of_pair[pair], records, sh, own_poses, camera, tile.left, tile.top);
        else
            batch.cover[0][own] = batch.cover[1][own] = 0;
        __syncthreads();
        float kept[10];
#pragma unroll
        for (int half = 0; half < PIXELS / WARP; ++half) {
            const float4(*splats)[3] = batch.splats + half * WARP;
            unsigned covering = transpose(batch.cover[warp][half * WARP + lane], lane), drawn = 0;
            while (covering && transmittance > 0.0f) {
                const int slot = highest(covering);
                covering ^= 1u << slot;
                const float4 place = splats[slot][0], weight = splats[slot][1], tint = splats[slot][2];
                const float exponent = log_alpha(place, weight, x - place.x, y - place.y);
                if (!blends(exponent, weight)) continue;
                const float raw = exp2_fast(exponent), a = fminf(raw, MAXIMUM_ALPHA);
                const float next = fmaf(-a, transmittance, transmittance);
                if (next <= MINIMUM_TRANSMITTANCE) {
                    transmittance = -transmittance;
                    break;
                }
                const float w = a * transmittance;
                const float shade = fmaf(weight.w, g0, fmaf(tint.x, g1, fmaf(tint.y, g2, fmaf(weight.z, g3, g4))));
                behind = fmaf(-w, shade, behind);
                const float d_a = raw < MAXIMUM_ALPHA ? fmaf(transmittance, shade, -behind / (1.0f - a)) : 0.0f;
                transmittance = next;
                drawn |= 1u << slot;
                marks[warp][slot][lane] = {d_a * a, w};
            }
            __syncwarp();
            const float4 place = splats[lane][0];
            float sum[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
            for (unsigned pixels = transpose(drawn, lane); pixels;) {
                const int pixel = highest(pixels);
                pixels ^= 1u << pixel;
                const Mark mark = marks[warp][lane][pixel];
                const float4 g = cotangents[warp * WARP + pixel];
                const float dx = pixel % SIDE + 0.5f - place.x;
                const float dy = pixel / SIDE + warp * (WARP / SIDE) + 0.5f - place.y;
                const float along_x = mark.d_exponent * dx, along_y = mark.d_exponent * dy;
                sum[0] += along_x;
                sum[1] += along_y;
                sum[2] = fmaf(along_x, dx, sum[2]);
                sum[3] = fmaf(along_x, dy, sum[3]);
                sum[4] = fmaf(along_y, dy, sum[4]);
                sum[5] += mark.d_exponent;  // times the opacity
                sum[6] = fmaf(mark.weight, g.x, sum[6]);
                sum[7] = fmaf(mark.weight, g.y, sum[7]);
                sum[8] = fmaf(mark.weight, g.z, sum[8]);
                sum[9] = fmaf(mark.weight, g.w, sum[9]);
            }
            // A warp finishes the half of its own number.
#pragma unroll
            for (int k = 0; k < 10; ++k) {
                if (half == warp) kept[k] = sum[k];
                else others[half * WARP + lane][k] = sum[k];
            }
            __syncwarp();
        }
        live = __syncthreads_or(transmittance > 0.0f);
        const int its_pair = __shfl_sync(ALL, pair, lane ^ (WARP - 1));
        if (its_pair >= 0) {
#pragma unroll
            for (int k = 0; k < 10; ++k) kept[k] += others[thread][k];
            const float4* splat = batch.splats[thread];
            const float scale = -1.0f / LOG2E;
            const float a = 2.0f * scale * splat[0].z, b = scale * splat[0].w, c = 2.0f * scale * splat[1].x;
            float4* gradient = gradients + (size_t)its_pair * (GRADIENT / 4);
            gradient[0] = make_float4(a * kept[0] + b * kept[1], b * kept[0] + c * kept[1], -0.5f * kept[2], -kept[3]);
            gradient[1] = make_float4(-0.5f * kept[4], kept[5] / splat[2].z, kept[6], kept[7]);
            gradient[2] = make_float4(kept[8], kept[9], 0.0f, 0.0f);
        }
        __syncthreads();
    }
}

// Add the gradients of a Gaussian's pairs in each camera, always in the same order.
extern "C" __global__ void gather(const float4* gradients, const int* pair_start, const int* pair_count, float* summed) {
    const size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x, stride = (size_t)CAMERAS * GAUSSIANS;
    const int lane = threadIdx.x % WARP;
    const int count = at < stride ? pair_count[at] : 0, start = count ? pair_start[at] : 0;
    float4 sum[3] = {};
    if (count <= FEW)
        for (int i = start; i < min(start + count, PAIRS); ++i)
            for (int k = 0; k < 3; ++k) {
                const float4 part = gradients[(size_t)i * (GRADIENT / 4) + k];
                sum[k].x += part.x; sum[k].y += part.y; sum[k].z += part.z; sum[k].w += part.w;
            }
    for (unsigned large = __ballot_sync(ALL, count > FEW); large; large &= large - 1) {
        const int owner = __ffs(large) - 1, from = __shfl_sync(ALL, start, owner);
        const int end = min(from + __shfl_sync(ALL, count, owner), PAIRS);
        for (int k = 0; k < 3; ++k) {
            float4 shared = {};
            for (int i = from + lane; i < end; i += WARP) {
                const float4 part = gradients[(size_t)i * (GRADIENT / 4) + k];
                shared.x += part.x; shared.y += part.y; shared.z += part.z; shared.w += part.w;
            }
            for (int step = WARP / 2; step > 0; step /= 2) {
                shared.x += __shfl_xor_sync(ALL, shared.x, step);
                shared.y += __shfl_xor_sync(ALL, shared.y, step);
                shared.z += __shfl_xor_sync(ALL, shared.z, step);
                shared.w += __shfl_xor_sync(ALL, shared.w, step);
            }
            if (lane == owner) sum[k] = shared;
        }
    }
    if (at >= stride) return;
    // By column, so that what follows reads whole lines.
    const float values[10] = {sum[0].x, sum[0].y, sum[0].z, sum[0].w, sum[1].x,
                              sum[1].y, sum[1].z, sum[1].w, sum[2].x, sum[2].y};
    for (int k = 0; k < 10; ++k) summed[k * stride + at] = values[k];
}
#endif
