//! Networks of a few calls, with the units that may go of each.

use super::Case;

pub const CASES: &[Case] = &[
    (
        "what a layer makes of products of channels is not zero for the weight's inputs",
        "y = conv2d(input=~1x3x4x4, weight=@8x3x1x1); y = flatten(self=y, start_dim=2);
         t = transpose(self=y, dim0=1, dim1=2); g = bmm(self=y, mat2=t); g = sigmoid(self=g);
         o = linear(input=g, weight=@5x8); sum(self=o, dim=[1])",
        &[5],
    ),
    (
        "products of channels normalised by numbers of one of the two",
        "y = conv2d(input=~1x3x4x4, weight=@8x3x1x1); y = flatten(self=y, start_dim=2);
         t = transpose(self=y, dim0=1, dim1=2); g = bmm(self=y, mat2=t); n = batch_norm(input=g, weight=@8, bias=@8, \
         running_mean=@8, running_var=@8, training=False, momentum=0.1, eps=0.01, cudnn_enabled=False); sum(self=n, dim=[2])",
        &[],
    ),
    (
        "a computed weight whose inputs and outputs go together",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); w = exp(self=@8x8x1x1); a = conv2d(input=x, weight=w);
         b = add(self=x, other=a); c = conv2d(input=x, weight=w); s = sum(self=c, dim=[1], keepdim=True); add(self=b, other=s)",
        &[],
    ),
    (
        "a sum of channels that take the sign of others",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=2); n = prim::NumToTensor(a=n);
         y = copysign(self=n, other=x); sum(self=y, dim=[1])",
        &[],
    ),
    (
        "a weight norm of computed lengths",
        "g = exp(self=@8x1); w = _weight_norm(v=@8x4, g=g, dim=0); y = linear(input=~2x4, weight=w); sum(self=y, dim=[1])",
        &[],
    ),
    (
        "the largest of all sizes stays what it was",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x); m = prim::max(self=n); mul(self=x, other=m)",
        &[8],
    ),
    (
        "padding by half of the channels that were missing",
        "x = conv2d(input=~1x3x4x4, weight=@4x3x1x1); n = size(self=x, dim=1); n = floordiv(a=n, b=2);
         p = pad(self=x, pad=[0, 0, 0, 0, n, n]); y = conv2d(input=~1x3x4x4, weight=@8x3x1x1); add(self=p, other=y)",
        &[4, 4],
    ),
    (
        "an axis that a product reduces alone",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); einsum(equation=\"bchw->bhw\", tensors=[x])",
        &[8],
    ),
    (
        "parts of an axis, counted from its end",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); a = slice(self=x, dim=1, start=-6, end=-2, step=1);
         b = slice(self=x, dim=1, start=-2, step=1); c = slice(self=x, dim=1, end=-6, step=1); cat(tensors=[a, b, c], dim=1)",
        &[8],
    ),
    (
        "the groups of a convolution are read by different layers",
        "stem = conv2d(input=~1x3x5x5, weight=@8x3x1x1);
         y = conv2d(input=stem, weight=@8x4x1x1, groups=2);
         near = slice(self=y, dim=1, start=0, end=4); far = slice(self=y, dim=1, start=4, end=8);
         a = conv2d(input=near, weight=@6x4x1x1); b = conv2d(input=far, weight=@6x4x1x1);
         add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "units of one group of a convolution beside units of two",
        "y = conv2d(input=~1x4x5x5, weight=@12x2x1x1, groups=2);
         a = slice(self=y, dim=1, start=0, end=2); b = slice(self=y, dim=1, start=6, end=8); ab = add(self=a, other=b);
         c = slice(self=y, dim=1, start=2, end=4); d = slice(self=y, dim=1, start=4, end=6); cd = add(self=c, other=d);
         e = slice(self=y, dim=1, start=8, end=10); f = slice(self=y, dim=1, start=10, end=12); ef = add(self=e, other=f);
         cat(tensors=[ab, cd, ef], dim=1)",
        &[2, 4],
    ),
    (
        "as many filters of one group as of another, but not in equal units",
        "y = conv2d(input=~1x4x5x5, weight=@8x2x1x1, groups=2);
         a = slice(self=y, dim=1, start=0, end=4);
         b = slice(self=y, dim=1, start=4, end=6); c = slice(self=y, dim=1, start=6, end=8); bc = add(self=b, other=c);
         cat(tensors=[a, bc], dim=1)",
        &[],
    ),
    (
        "two grouped convolutions whose groups cut across each other",
        "a = conv2d(input=~1x6x3x3, weight=@12x3x1x1, groups=2); b = conv2d(input=~1x6x3x3, weight=@12x2x1x1, groups=3);
         add(self=a, other=b)",
        &[],
    ),
    (
        "two grouped convolutions of which one has the other's groups in halves",
        "a = conv2d(input=~1x4x3x3, weight=@8x2x1x1, groups=2); b = conv2d(input=~1x8x3x3, weight=@8x2x1x1, groups=4);
         add(self=a, other=b)",
        &[8],
    ),
    (
        "a group norm over features that are no channels",
        "h = linear(input=~1x4x16, weight=@32x16); group_norm(input=h, num_groups=2, weight=@4, bias=@4, eps=0.01)",
        &[],
    ),
    (
        "a batch norm in evaluation mode over features that are no channels",
        "h = linear(input=~2x4x16, weight=@32x16);
         batch_norm(input=h, weight=@4, bias=@4, running_mean=@4, running_var=@4, training=False, momentum=0.1, eps=0.01, \
         cudnn_enabled=False)",
        &[32],
    ),
    (
        "a grouped mean beside halves: either split may keep what the other cannot",
        "x = ~1x3x4x4; y = conv2d(input=x, weight=@12x3x1x1); halves = view(self=y, size=[1, 2, 6, 4, 4]);
         p, q = unbind(self=halves, dim=1); q = sigmoid(self=q); u = mul(self=p, other=q);
         u = conv2d(input=u, weight=@5x6x1x1); z = view(self=y, size=[1, 4, 3, 16]); m = mean(self=z, dim=[2, 3], keepdim=True);
         z = sub(self=z, other=m); z = view(self=z, size=[1, 12, 4, 4]); v = conv2d(input=z, weight=@5x12x1x1);
         cat(tensors=[u, v], dim=1)",
        &[2, 5, 5],
    ),
    (
        "the place of each channel's largest value, looked up in a table",
        "x = ~1x3x4x4; heat = conv2d(input=x, weight=@8x3x1x1); flat = flatten(self=heat, start_dim=2);
         i = argmax(self=flat, dim=-1); e = embedding(weight=@16x4, indices=i); mean(self=e, dim=[2])",
        &[8],
    ),
    (
        "values of a tensor that cannot shrink at such places",
        "x = ~1x3x4x4; heat = conv2d(input=x, weight=@8x3x1x1); flat = flatten(self=heat, start_dim=2);
         v, i = topk(self=flat, k=4, dim=-1); gather(self=~1x8x16, dim=2, index=i)",
        &[],
    ),
    (
        "differences of neighbours, the first of them from another tensor",
        "diff(self=~1x4*x3, prepend=~1x4*x1, dim=2)",
        &[4],
    ),
    (
        "differences of neighbours, the first of them from a tensor that cannot shrink",
        "diff(self=~1x4x3, prepend=~1x4*x1, dim=2)",
        &[],
    ),
    (
        "a bilinear layer over tokens that may go",
        "bilinear(input1=~2x5*x4, input2=~2x5*x3, weight=@6x4x3)",
        &[5],
    ),
    (
        "windows added up for samples that may go",
        "col2im(self=~4*x8x4, output_size=[3, 3], kernel_size=[2, 2], dilation=[1, 1], padding=[0, 0], stride=[1, 1])",
        &[4],
    ),
    (
        "gates that leave one channel each",
        "x = conv2d(input=~1x3x2x2, weight=@6x3x1x1); a, b, c = split_with_sizes(self=x, split_sizes=[2, 2, 2], dim=1);
         p = glu(self=a, dim=1); q = glu(self=b, dim=1); r = glu(self=c, dim=1); cat(tensors=[p, q, r], dim=1)",
        &[],
    ),
    (
        "windows that leave one channel each",
        "x = conv1d(input=~1x3x4, weight=@8x3x1); a, b = split_with_sizes(self=x, split_sizes=[4, 4], dim=1);
         p = col2im(self=a, output_size=[3, 3], kernel_size=[2, 2], dilation=[1, 1], padding=[0, 0], stride=[1, 1]);
         q = col2im(self=b, output_size=[3, 3], kernel_size=[2, 2], dilation=[1, 1], padding=[0, 0], stride=[1, 1]);
         cat(tensors=[p, q], dim=1)",
        &[],
    ),
    (
        "a layer norm beside channels shifts those that are zero",
        "x = ~1x3x4x4; a = conv2d(input=x, weight=@8x3x1x1); b = conv2d(input=x, weight=@8x3x1x1);
         flat = flatten(self=a, start_dim=2); y = layer_norm(input=flat, normalized_shape=[16], weight=@16, bias=@16);
         gate = sigmoid(self=b); z = flatten(self=gate, start_dim=2); turned = transpose(self=y, dim0=1, dim1=2);
         matmul(self=turned, other=z)",
        &[],
    ),
    (
        "a linear layer beside channels shifts those that are zero",
        "x = ~1x3x4x4; a = conv2d(input=x, weight=@8x3x1x1); b = conv2d(input=x, weight=@8x3x1x1);
         flat = flatten(self=a, start_dim=2); y = linear(input=flat, weight=@1x16, bias=@1);
         gate = sigmoid(self=b); z = flatten(self=gate, start_dim=2); turned = transpose(self=y, dim0=1, dim1=2);
         matmul(self=turned, other=z)",
        &[],
    ),
    (
        "a linear layer without bias keeps zeros beside it",
        "x = ~1x3x4x4; a = conv2d(input=x, weight=@8x3x1x1); b = conv2d(input=x, weight=@8x3x1x1);
         flat = flatten(self=a, start_dim=2); y = linear(input=flat, weight=@1x16);
         gate = sigmoid(self=b); z = flatten(self=gate, start_dim=2); turned = transpose(self=y, dim0=1, dim1=2);
         matmul(self=turned, other=z)",
        &[8],
    ),
    (
        "rows of a table at places that may go",
        "x = ~1x3x4x4; heat = conv2d(input=x, weight=@8x3x1x1); flat = flatten(self=heat, start_dim=2);
         i = argmax(self=flat, dim=-1); rows = index(self=@16x3, indices=[i]);
         z = conv2d(input=x, weight=@8x3x1x1); z = sigmoid(self=z); z = flatten(self=z, start_dim=2);
         einsum(equation=\"bcd,bct->btd\", tensors=[rows, z])",
        &[3],
    ),
    (
        "states that start at zero stay zero",
        "h = zeros(size=[1, 2, 3]); c = zeros(size=[1, 2, 3]);
         o, h, c = lstm(input=~2x5x4, hx=[h, c], params=[@12x4, @12x3, @12, @12], has_biases=True, num_layers=1, \
         dropout=0.0, train=False, bidirectional=False, batch_first=True);
         last = permute(self=h, dims=[1, 2, 0]); bmm(self=o, mat2=last)",
        &[3],
    ),
    (
        "states that do not start at zero",
        "h = sigmoid(self=~1x2x3*); c = zeros(size=[1, 2, 3]);
         o, h, c = lstm(input=~2x5x4, hx=[h, c], params=[@12x4, @12x3, @12, @12], has_biases=True, num_layers=1, \
         dropout=0.0, train=False, bidirectional=False, batch_first=True);
         last = permute(self=h, dims=[1, 2, 0]); bmm(self=o, mat2=last)",
        &[],
    ),
    (
        "bounds without zero",
        "x = ~1x3x4x4; a = conv2d(input=x, weight=@8x3x1x1); a = hardtanh(self=a, min_val=0.5, max_val=1.0);
         b = conv2d(input=x, weight=@8x3x1x1); b = sigmoid(self=b);
         einsum(equation=\"bchw,bchw->bhw\", tensors=[a, b])",
        &[],
    ),
    (
        "bounds around zero",
        "x = ~1x3x4x4; a = conv2d(input=x, weight=@8x3x1x1); a = hardtanh(self=a, min_val=-0.5, max_val=1.0);
         b = conv2d(input=x, weight=@8x3x1x1); b = sigmoid(self=b);
         einsum(equation=\"bchw,bchw->bhw\", tensors=[a, b])",
        &[8],
    ),
    (
        "the places of smallest values are not zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = flatten(self=x, start_dim=2); v, i = cummax(self=x, dim=2);
         i = to(self=i, dtype=6); z = sigmoid(self=x); einsum(equation=\"bct,bct->bt\", tensors=[i, z])",
        &[],
    ),
    (
        "a transposed convolution with a weight that is never zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = sigmoid(self=x); w = exp(self=@8x4x2x2);
         conv_transpose2d(input=x, weight=w)",
        &[4],
    ),
    (
        "a grouped transposed convolution with a weight that is never zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = sigmoid(self=x); w = exp(self=@8x4x2x2);
         conv_transpose2d(input=x, weight=w, groups=2)",
        &[4],
    ),
    (
        "a grouped convolution with a weight that is never zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = sigmoid(self=x); w = exp(self=@6x4x1x1);
         conv2d(input=x, weight=w, groups=2)",
        &[6],
    ),
    (
        "a bilinear layer with a weight that is never zero",
        "x = sigmoid(self=~2x4*); w = exp(self=@5x4x3); bilinear(input1=x, input2=~2x3, weight=w)",
        &[5],
    ),
    (
        "windows with padding around them, a linear layer over each",
        "x = conv2d(input=~1x3x4x4, weight=@6x3x1x1);
         w = im2col(self=x, kernel_size=[3, 3], dilation=[1, 1], padding=[1, 1], stride=[1, 1]);
         w = transpose(self=w, dim0=1, dim1=2); linear(input=w, weight=@5x54)",
        &[6, 5],
    ),
    (
        "windows that see nothing but padding at some positions",
        "x = conv2d(input=~1x3x1x1, weight=@6x3x1x1);
         w = im2col(self=x, kernel_size=[3, 3], dilation=[1, 1], padding=[1, 1], stride=[1, 1]);
         w = transpose(self=w, dim0=1, dim1=2); linear(input=w, weight=@5x54)",
        &[6, 5],
    ),
    (
        "the least norm of a parameter without one of its positions",
        "w = linalg_vector_norm(self=@4x3, ord=-1.0, dim=[0]); mul(self=~2x1, other=w)",
        &[3],
    ),
    (
        "values that are never zero, normalised by their length",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = sigmoid(self=x); n = linalg_vector_norm(self=x, ord=2.0, dim=[1], keepdim=True);
         div(self=x, other=n)",
        &[],
    ),
    (
        "the least length of channels",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); linalg_vector_norm(self=x, ord=-1.0, dim=[1])",
        &[],
    ),
    (
        "how many channels are not zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = relu(self=x); x = linalg_vector_norm(self=x, ord=0.0, dim=[1]); norm(self=x, p=1.0)",
        &[8],
    ),
    (
        "a sum over channels",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); sum(self=x, dim=[1])",
        &[8],
    ),
    (
        "a sum over values that are never zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = sigmoid(self=x); sum(self=x, dim=[1])",
        &[],
    ),
    (
        "a mean over channels divides by their number",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); mean(self=x, dim=[1])",
        &[],
    ),
    (
        "one score a head, the sum over its features",
        "h = linear(input=~2x5x3, weight=@8x3); h = view(self=h, size=[2, 5, 2, 4]); s = mul(self=h, other=@1x1x2x4);
         s = sum(self=s, dim=[-1], keepdim=True); s = leaky_relu(self=s); mul(self=h, other=s)",
        &[4],
    ),
    (
        "channels divided by a norm of all their squares",
        "x = conv2d(input=~1x3x4x4, weight=@6x3x1x1); w = exp(self=@6x6x1x1);
         squares = pow(self=x, exponent=2); n = conv2d(input=squares, weight=w, bias=@6); n = add(self=n, other=0.5); n = rsqrt(self=n); mul(self=x, other=n)",
        &[6],
    ),
    (
        "a power of zero is one everywhere",
        "x = conv2d(input=~1x3x4x4, weight=@6x3x1x1); w = exp(self=@5x6x1x1); ones = pow(self=x, exponent=0);
         conv2d(input=ones, weight=w)",
        &[5],
    ),
    (
        "bounds around zero, one of them missing",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = clamp(self=x, max=0.5); x = clamp_min(self=x, min=-0.5); x = clip(self=x, min=-0.25, max=0.25); sum(self=x, dim=[1])",
        &[8],
    ),
    (
        "a least bound above zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = clamp_min(self=x, min=0.5); sum(self=x, dim=[1])",
        &[],
    ),
    (
        "a bound of its own for each channel",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); clamp(self=x, min=@1x8x1x1)",
        &[8],
    ),
    (
        "a bound of its own for each channel is no zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = clamp(self=x, min=@1x8x1x1); sum(self=x, dim=[1])",
        &[],
    ),
    (
        "zeros around each channel and beside them",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = pad(self=x, pad=[1, 1, 1, 1, 2, 3]); sum(self=x, dim=[1])",
        &[8],
    ),
    (
        "numbers around each channel that are not zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); x = pad(self=x, pad=[1, 1, 1, 1], value=0.5); sum(self=x, dim=[1])",
        &[],
    ),
    (
        "numbers beside channels that are not zero",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); pad(self=x, pad=[0, 0, 0, 0, 2, 1], value=0.5)",
        &[8],
    ),
    (
        "every second channel and the others",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); a = slice(self=x, dim=1, step=2); b = slice(self=x, dim=1, start=1, end=9, step=2);
         a = conv2d(input=a, weight=@6x4x1x1); b = conv2d(input=b, weight=@6x4x1x1); add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "every third of eight channels",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); slice(self=x, dim=1, step=3)",
        &[],
    ),
    (
        "every second channel up to one of them",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); slice(self=x, dim=1, start=0, end=6, step=2)",
        &[],
    ),
    (
        "every second channel from behind",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); slice(self=x, dim=1, start=-8, step=2)",
        &[],
    ),
    (
        "some channels written over by what a layer makes of them",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); p = slice(self=x, dim=1, start=-6, end=6); p = conv2d(input=p, weight=@4x4x3x3, padding=[1, 1]);
         slice_scatter(self=x, src=p, dim=1, start=-6, end=6)",
        &[4, 4],
    ),
    (
        "some channels written over by a tensor that cannot shrink",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); slice_scatter(self=x, src=~1x4x4x4, dim=1, start=2, end=6)",
        &[4],
    ),
    (
        "every second channel written over",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); p = conv2d(input=x, weight=@4x8x1x1); slice_scatter(self=x, src=p, dim=1, step=2)",
        &[],
    ),
    (
        "channels written over in a tensor that cannot shrink",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); p = slice(self=x, dim=1, start=0, end=4); slice_scatter(self=~1x8x4x4, src=p, dim=1, start=4)",
        &[4],
    ),
    (
        "as many equal parts as are asked for",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); a, b = tensor_split(self=x, sections=2, dim=1);
         a = conv2d(input=a, weight=@6x4x1x1); b = conv2d(input=b, weight=@6x4x1x1); add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "as many parts as are asked for, of which one is larger",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); a, b, c = tensor_split(self=x, sections=3, dim=1);
         conv2d(input=a, weight=@6x3x1x1)",
        &[6],
    ),
    (
        "halves by the size of the axis",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=1); n = floordiv(a=n, b=2); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x4x1x1); b = conv2d(input=b, weight=@6x4x1x1); add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "halves by the size of the axis, as a tensor, of what an activation made",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); y = relu(self=x); n = size(self=y, dim=-3); n = prim::NumToTensor(a=n); n = floor_divide(self=n, other=2); n = Int(a=n); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x4x1x1); b = conv2d(input=b, weight=@6x4x1x1); add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "three quarters by the sizes of all axes",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x); n = __getitem__(list=n, idx=1); n = floordiv(a=n, b=4); n = mul(a=n, b=3); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x6x1x1); b = conv2d(input=b, weight=@6x2x1x1); add(self=a, other=b)",
        &[2, 6],
    ),
    (
        "what a half leaves",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=1); h = floordiv(a=n, b=2); n = sub(a=n, b=h); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x4x1x1); b = conv2d(input=b, weight=@6x4x1x1); add(self=a, other=b)",
        &[4, 6],
    ),
    (
        "halves by the size of another axis",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=2); n = floordiv(a=n, b=2); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x2x1x1); b = conv2d(input=b, weight=@6x6x1x1); add(self=a, other=b)",
        &[2, 6, 6],
    ),
    (
        "a third of eight",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=1); n = floordiv(a=n, b=3); a = slice(self=x, dim=1, end=n); b = slice(self=x, dim=1, start=n);
         a = conv2d(input=a, weight=@6x2x1x1); b = conv2d(input=b, weight=@6x6x1x1); add(self=a, other=b)",
        &[2, 6, 6],
    ),
    (
        "halves by the size of the axis, narrowed",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=1); n = floordiv(a=n, b=2); a = narrow(self=x, dim=1, start=n, length=n); conv2d(input=a, weight=@6x4x1x1)",
        &[4, 6],
    ),
    (
        "halves by the size of the axis, split",
        "x = conv2d(input=~1x3x4x4, weight=@8x3x1x1); n = size(self=x, dim=1); n = floordiv(a=n, b=2); a, b = split_with_sizes(self=x, split_sizes=[n, n], dim=1); conv2d(input=a, weight=@6x4x1x1)",
        &[4, 6],
    ),
];
