//! Networks in which an axis is stretched: as long as what it meets, and zero nowhere.

use super::Case;

pub const STRETCHED: &[Case] = &[
    (
        "a map stretched over channels, summed with others that are not zero where one is",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); y = sigmoid(self=y); flat = flatten(self=y, start_dim=2);
         g = conv2d(input=x, weight=@1x3x1x1); g = flatten(self=g, start_dim=2); wide = expand(self=g, size=[-1, 8, -1]);
         wide = transpose(self=wide, dim0=1, dim1=2); matmul(self=wide, other=flat)",
        &[],
    ),
    (
        "a map stretched over channels, summed with others that are zero where one is",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); flat = flatten(self=y, start_dim=2);
         g = conv2d(input=x, weight=@1x3x1x1); g = flatten(self=g, start_dim=2); wide = expand(self=g, size=[-1, 8, -1]);
         wide = transpose(self=wide, dim0=1, dim1=2); matmul(self=wide, other=flat)",
        &[8],
    ),
    (
        "the same, stretched as another tensor is",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); z = sigmoid(self=y);
         g = conv2d(input=x, weight=@1x3x1x1); wide = expand_as(self=g, other=y);
         a = einsum(equation=\"bchw,bchw->bhw\", tensors=[wide, y]); b = einsum(equation=\"bchw,bchw->bhw\", tensors=[wide, z]);
         add(self=a, other=b)",
        &[],
    ),
    (
        "a stretched map added to channels is zero at none of them",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); z = conv2d(input=x, weight=@8x3x1x1); z = sigmoid(self=z);
         g = conv2d(input=x, weight=@1x3x1x1); wide = repeat(self=g, repeats=[1, 8, 1, 1]); sum = add(self=wide, other=y);
         einsum(equation=\"bchw,bchw->bhw\", tensors=[sum, z])",
        &[],
    ),
    (
        "a stretched map times channels is zero where one is",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); z = conv2d(input=x, weight=@8x3x1x1); z = sigmoid(self=z);
         g = conv2d(input=x, weight=@1x3x1x1); wide = repeat(self=g, repeats=[1, 8, 1, 1]); gated = mul(self=wide, other=y);
         einsum(equation=\"bchw,bchw->bhw\", tensors=[gated, z])",
        &[8],
    ),
    (
        "channels and copies of a map side by side, summed with values that are not zero",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@4x3x1x1); z = conv2d(input=x, weight=@8x3x1x1); z = sigmoid(self=z);
         g = conv2d(input=x, weight=@1x3x1x1); wide = expand(self=g, size=[-1, 4, -1, -1]); both = cat(tensors=[wide, y], dim=1);
         einsum(equation=\"bchw,bchw->bhw\", tensors=[both, z])",
        &[],
    ),
    (
        "halves of which one is copies of a map, each summed with channels that are zero where one is",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@4x3x1x1); z = conv2d(input=x, weight=@4x3x1x1);
         g = conv2d(input=x, weight=@1x3x1x1); wide = expand(self=g, size=[-1, 4, -1, -1]); both = cat(tensors=[wide, y], dim=1);
         left, right = chunk(self=both, chunks=2, dim=1);
         a = einsum(equation=\"bchw,bchw->bhw\", tensors=[left, z]); b = einsum(equation=\"bchw,bchw->bhw\", tensors=[right, z]);
         add(self=a, other=b)",
        &[4],
    ),
    (
        "a table stretched over the samples and a stretched kernel",
        "x = ~1x3x6x6; y = conv2d(input=x, weight=@8x3x1x1); k = repeat(self=@1x1x3x3, repeats=[8, 1, 1, 1]);
         conv2d(input=y, weight=k, padding=1, groups=8)",
        &[8],
    ),
    (
        "a stretched map beside channels, summed with itself",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); y = flatten(self=y, start_dim=2);
         g = conv2d(input=x, weight=@1x3x1x1); g = flatten(self=g, start_dim=2); wide = expand(self=g, size=[-1, 8, -1]);
         both = cat(tensors=[y, wide], dim=2); turned = transpose(self=both, dim0=1, dim1=2);
         matmul(self=turned, other=both)",
        &[],
    ),
    (
        "stretched maps stacked with channels, summed with themselves",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@8x3x1x1); y = flatten(self=y, start_dim=2);
         g = conv2d(input=x, weight=@1x3x1x1); g = flatten(self=g, start_dim=2); wide = expand(self=g, size=[-1, 8, -1]);
         both = stack(tensors=[y, wide], dim=0); turned = transpose(self=both, dim0=2, dim1=3);
         matmul(self=turned, other=both)",
        &[],
    ),
    (
        "a sum over copies of one parameter counts them",
        "x = ~2x4; e = expand(self=@1, size=[8]); y = linear(input=x, weight=@8x4); y = mul(self=y, other=e); s = sum(self=e);
         o = linear(input=y, weight=@3x8); add(self=o, other=s)",
        &[3],
    ),
    (
        "layers that step from copies of one state",
        "x = ~5x1x4; h = expand(self=@1x1x1, size=[1, 1, 6]); y, n = gru(input=x, hx=h, params=[@18x4, @18x6], has_biases=False, \
         num_layers=1, dropout=0.0, train=False, bidirectional=False, batch_first=False);
         turned = transpose(self=y, dim0=1, dim1=2); bmm(self=y, mat2=turned)",
        &[],
    ),
    (
        "values at the places of each channel's largest ones",
        "x = ~1x3x4x4; heat = conv2d(input=x, weight=@8x3x1x1); flat = flatten(self=heat, start_dim=2);
         v, i = topk(self=flat, k=4, dim=-1); grid = expand_as(self=~1x1x16, other=flat);
         gather(self=grid, dim=2, index=i)",
        &[8],
    ),
    (
        "one channel stretched over those of another tensor",
        "x = ~1x3x4x4; g = conv2d(input=x, weight=@1x3x1x1); y = conv2d(input=x, weight=@8x3x1x1); y = sigmoid(self=y);
         wide = expand_as(self=g, other=y); einsum(equation=\"bchw,bchw->bhw\", tensors=[wide, y])",
        &[],
    ),
    (
        "zero along an axis that cannot shrink, stretched over one that may",
        "gate = sigmoid(self=~1x4x3*); scaled = mul(self=~1x4*x1, other=gate); other = sigmoid(self=~1x4x3*);
         einsum(equation=\"bcd,bcd->bc\", tensors=[scaled, other])",
        &[],
    ),
    (
        "channels normalised by their own length",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = linalg_vector_norm(self=x, ord=2.0, dim=[1], keepdim=True);
         n = clamp_min(self=n, min=0.000001); n = expand_as(self=n, other=x); div(self=x, other=n)",
        &[8],
    ),
    (
        "copies around each channel",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = reflection_pad2d(self=x, padding=[1, 1, 1, 1]); sum(self=x, dim=[1])",
        &[8],
    ),
    (
        "a sum over one channel stretched over others",
        "x = ~1x3x4x4; g = conv2d(input=x, weight=@1x3x1x1); y = conv2d(input=x, weight=@8x3x1x1); wide = expand_as(self=g, other=y); sum(self=wide, dim=[1])",
        &[],
    ),
    (
        "a sum over channels times one that is stretched over them",
        "x = ~1x3x4x4; g = conv2d(input=x, weight=@1x3x1x1); y = conv2d(input=x, weight=@8x3x1x1); wide = expand(self=g, size=[1, 8, 4, 4]); both = mul(self=wide, other=y); sum(self=both, dim=[1])",
        &[8],
    ),
];
