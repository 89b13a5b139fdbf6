// The filters as ImageJ macros, one block each, parted by empty lines; an exported file carries those that it uses.
// Images are named by their ids. A filter leaves what it is given untouched and returns a new image: planes are 8-bit
// images, masks 8-bit images of 0 and 255. Beyond the border an image goes on as its mirror image, edge pixels doubled.

function copied(plane) {
    selectImage(plane);
    run("Select None");
    run("Duplicate...", "title=plane");
    return getImageID();
}

function discard(plane) {
    selectImage(plane);
    close();
}

function in_float(plane) {
    values = copied(plane);
    run("32-bit");
    return values;
}

function decimal(number) {
    return d2s(number, 9);
}

// Changes a 32-bit image to 8 bit: 12582912 is 1.5 times 2 to the 23rd, where floats are whole numbers.
function to_gray(values) {
    selectImage(values);
    run("Min...", "value=-1000");
    run("Max...", "value=1000");
    run("Add...", "value=12582912");
    run("Subtract...", "value=12582912");
    return clipped(values);
}

// Changes a 32-bit image to 8 bit, halves upwards.
function clipped(values) {
    selectImage(values);
    setMinAndMax(0, 255);
    run("8-bit");
    run("Grays");
    return values;
}

// Changes a 32-bit response to 8 bit: its positive part times gain if bright, negative if dark, magnitude if both.
function signed_gray(response, gain, polarity) {
    selectImage(response);
    if (polarity == "dark") gain = -gain;
    run("Multiply...", "value=" + decimal(gain));
    if (polarity == "both") run("Abs");
    return to_gray(response);
}

// Joins two images pixel by pixel in float.
function joined(how, a, b) {
    one = in_float(a);
    other = in_float(b);
    imageCalculator(how, one, other);
    discard(other);
    return one;
}

// Changes a 32-bit image into its length with another one, which goes.
function length_of(across, down) {
    selectImage(across);
    run("Square");
    selectImage(down);
    run("Square");
    imageCalculator("Add", across, down);
    discard(down);
    selectImage(across);
    run("Square Root");
    return across;
}

// Looks every level up in a table of 256 levels.
function looked_up(plane, table) {
    result = copied(plane);
    setLut(table, table, table);
    run("RGB Color");
    run("8-bit");
    return result;
}

// Looks every level up in a table of 256 whole numbers between -32768 and 32767; the result is a 32-bit image.
function looked_up_wide(plane, table) {
    high = newArray(256);
    low = newArray(256);
    for (i = 0; i < 256; i++) {
        high[i] = floor((table[i] + 32768) / 256);
        low[i] = table[i] + 32768 - 256 * high[i];
    }
    rest = looked_up(plane, low);
    run("32-bit");
    result = looked_up(plane, high);
    run("32-bit");
    run("Multiply...", "value=256");
    imageCalculator("Add", result, rest);
    discard(rest);
    selectImage(result);
    run("Subtract...", "value=32768");
    return result;
}

function half_even(number) {
    below = floor(number);
    if (number - below < 0.5 || (number - below == 0.5 && below % 2 == 0)) return below;
    return below + 1;
}

function interpolated(level, points, first, n) {
    cell = minOf(floor(level * (n - 1) / 255), n - 2);
    left = 255 * cell / (n - 1);
    slope = (points[first + cell + 1] - points[first + cell]) / (255 * (cell + 1) / (n - 1) - left);
    if (level >= 255) return points[first + n - 1];
    return slope * (level - left) + points[first + cell];
}

function paste(from, to, x, y, width, height, to_x, to_y) {
    if (width == 0 || height == 0) return;
    selectImage(from);
    makeRectangle(x, y, width, height);
    run("Copy");
    run("Select None");
    selectImage(to);
    makeRectangle(to_x, to_y, width, height);
    run("Paste");
    run("Select None");
}

function cropped(wide, x, y, width, height) {
    selectImage(wide);
    makeRectangle(x, y, width, height);
    run("Crop");
    return wide;
}

// Copies a plane with a margin on each side, in which it is mirrored, again and again if it is smaller than that.
function mirrored(plane, margin) {
    result = copied(plane);
    wide = 0;
    high = 0;
    while (wide < margin || high < margin) {
        width = getWidth();
        height = getHeight();
        x = minOf(margin - wide, width);
        y = minOf(margin - high, height);
        flipped = copied(result);
        run("Flip Horizontally");
        selectImage(result);
        run("Canvas Size...", "width=" + width + 2 * x + " height=" + height + " position=Center zero");
        paste(flipped, result, width - x, 0, x, height, 0, 0);
        paste(flipped, result, 0, 0, x, height, width + x, 0);
        discard(flipped);
        flipped = copied(result);
        run("Flip Vertically");
        selectImage(result);
        width += 2 * x;
        run("Canvas Size...", "width=" + width + " height=" + height + 2 * y + " position=Center zero");
        paste(flipped, result, 0, height - y, width, y, 0, 0);
        paste(flipped, result, 0, 0, width, y, 0, height + y);
        discard(flipped);
        selectImage(result);
        wide += x;
        high += y;
    }
    return result;
}

function text_of(weights, between) {
    text = "";
    for (i = 0; i < weights.length; i++) text = text + decimal(weights[i]) + between;
    return text;
}

// Correlates with one row of weights and with one column of them; the result is a 32-bit image.
function correlated(plane, across, down) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    margin = floor(maxOf(across.length, down.length) / 2);
    values = mirrored(plane, margin);
    run("32-bit");
    run("Convolve...", "text1=[" + text_of(across, " ") + "\n]");
    run("Convolve...", "text1=[" + text_of(down, "\n") + "]");
    return cropped(values, margin, margin, width, height);
}

// Correlates with 3 x 3 weights; the result is a 32-bit image.
function correlated_3(plane, weights) {
    values = in_float(plane);
    text = "";
    for (i = 0; i < 9; i++) {
        text = text + decimal(weights[i]) + " ";
        if (i % 3 == 2) text = text + "\n";
    }
    run("Convolve...", "text1=[" + text + "]");
    return values;
}

function ones(n) {
    weights = newArray(n);
    Array.fill(weights, 1);
    return weights;
}

// Sums over squares; the result is a 32-bit image.
function sums(plane, radius) {
    return correlated(plane, ones(2 * radius + 1), ones(2 * radius + 1));
}

function means(plane, radius) {
    values = sums(plane, radius);
    run("Divide...", "value=" + (2 * radius + 1) * (2 * radius + 1));
    return values;
}

// Variances over squares as a 32-bit image, from a plane and its means.
function variances(plane, mean, radius) {
    squares = in_float(plane);
    run("Square");
    result = means(squares, radius);
    discard(squares);
    squares = copied(mean);
    run("Square");
    imageCalculator("Subtract", result, squares);
    discard(squares);
    selectImage(result);
    run("Min...", "value=0");
    return result;
}

function reduction(sigma, finest) {
    factor = 1;
    while (sigma / (2 * factor) >= finest) factor *= 2;
    return factor;
}

// Takes means of square blocks, in the type of the plane; blocks over the edge are completed by the mirror image.
function shrunk(plane, factor) {
    selectImage(plane);
    if (factor == 1) return copied(plane);
    width = factor * Math.ceil(getWidth() / factor);
    height = factor * Math.ceil(getHeight() / factor);
    gray = bitDepth() == 8;
    small = cropped(mirrored(plane, factor - 1), factor - 1, factor - 1, width, height);
    run("32-bit");
    run("Bin...", "x=" + factor + " y=" + factor + " bin=Average");
    if (gray && factor == 2) return clipped(small);
    if (gray) return to_gray(small);
    return small;
}

// Undoes `shrunk` by linear interpolation: squares of one level, smoothed by a kernel as wide as they are. Of 8-bit
// planes both rows are rounded down to quarters of a level before they are added up, as OpenCV does.
function enlarged(small, factor, width, height) {
    if (factor == 1) return small;
    selectImage(small);
    gray = bitDepth() == 8;
    run("32-bit");
    run("Size...", "width=" + factor * getWidth() + " height=" + factor * getHeight() + " interpolation=None");
    slope = ones(factor + 1);
    slope[0] = 0.5;
    slope[factor] = 0.5;
    run("Convolve...", "text1=[" + text_of(slope, " ") + "\n]");
    run("Divide...", "value=" + factor);
    if (!gray) {
        run("Convolve...", "text1=[" + text_of(slope, "\n") + "]");
        run("Divide...", "value=" + factor);
        return cropped(small, 0, 0, width, height);
    }
    below = copied(small);
    first = newArray(factor + 1);
    first[0] = 1;
    selectImage(small);
    run("Convolve...", "text1=[" + text_of(first, "\n") + "]");
    run("Macro...", "code=v=floor(4*v*(1-((y+0.5)/" + factor + "+0.5)%1))");
    selectImage(below);
    run("Convolve...", "text1=[" + text_of(Array.reverse(first), "\n") + "]");
    run("Macro...", "code=v=floor(4*v*(((y+0.5)/" + factor + "+0.5)%1))");
    imageCalculator("Add", small, below);
    discard(below);
    selectImage(small);
    run("Divide...", "value=4");
    return cropped(clipped(small), 0, 0, width, height);
}

function bell(sigma, cut) {
    radius = Math.ceil(cut * sigma);
    weights = newArray(2 * radius + 1);
    total = 0;
    for (i = 0; i < weights.length; i++) {
        weights[i] = exp(-0.5 * (i - radius) * (i - radius) / (sigma * sigma));
        total += weights[i];
    }
    for (i = 0; i < weights.length; i++) weights[i] /= total;
    return weights;
}

// The same in whole 256ths; what rounding takes is added to the next weight.
function bell_256(sigma, cut) {
    weights = bell(sigma, cut);
    middle = floor(weights.length / 2);
    rest = 0;
    total = 0;
    for (i = 0; i < middle; i++) {
        exact = 256 * weights[i] + rest;
        weights[i] = half_even(exact);
        weights[weights.length - 1 - i] = weights[i];
        rest = exact - weights[i];
        total += 2 * weights[i];
    }
    weights[middle] = 256 - total;
    return weights;
}

// A Gaussian in the type of the plane; from 3 px on at reduced scale.
function smooth(plane, sigma) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    factor = reduction(sigma, 1.5);
    inner = sqrt(sigma * sigma - (factor * factor - 1) / 4) / factor;
    small = shrunk(plane, factor);
    if (bitDepth() == 8) {
        calm = correlated(small, bell_256(inner, 3), bell_256(inner, 3));
        run("Divide...", "value=65536");
        clipped(calm);
    } else {
        calm = correlated(small, bell(inner, 3), bell(inner, 3));
    }
    discard(small);
    return enlarged(calm, factor, width, height);
}

// A Gaussian in float for derivatives, left at its reduced scale.
function smooth_fine(plane, sigma, factor) {
    values = in_float(plane);
    small = shrunk(values, factor);
    inner = sqrt(sigma * sigma - (factor * factor - 1) / 12) / factor;
    calm = correlated(small, bell(inner, 4), bell(inner, 4));
    discard(small);
    discard(values);
    return calm;
}

function native_channel(image, index) {
    selectImage(image);
    colours = bitDepth() == 24;
    if (colours) {
        image = copied(image);
        run("RGB Stack");
    }
    if (nSlices > 1) setSlice(minOf(index + 1, nSlices));
    plane = copied(image);
    run("Grays");
    if (bitDepth() == 16 && calibrate(0) != 0) run("32-bit"); // signed 16 bit, which getPixel gives without its offset
    if (bitDepth() == 32) {
        run("Macro...", "code=[if (isNaN(v)) v=0;]");
        run("Min...", "value=-1000000000");
        run("Max...", "value=1000000000");
    }
    if (colours) discard(image);
    return plane;
}

// Changes a channel to 8 bit: 16 bit by its high byte, floats from 0 to 1.
function to_8_bit(plane) {
    selectImage(plane);
    if (bitDepth() == 16) {
        run("32-bit");
        run("Subtract...", "value=127.5");
        run("Divide...", "value=256");
        return clipped(plane);
    }
    if (bitDepth() == 32) {
        run("Multiply...", "value=255");
        return to_gray(plane);
    }
    return plane;
}

function number_of_channels(image) {
    selectImage(image);
    if (bitDepth() == 24) return 3;
    return nSlices;
}

// Red, green or blue (0, 1, 2) as 8 bit; an image of fewer channels shows its first in all three.
function colour(image, index) {
    if (number_of_channels(image) < 3) index = 0;
    return to_8_bit(native_channel(image, index));
}

// Adds up planes with weights, as a 32-bit image, and discards the planes.
function weighted(planes, weights) {
    for (i = 0; i < planes.length; i++) {
        part = in_float(planes[i]);
        run("Multiply...", "value=" + decimal(weights[i]));
        discard(planes[i]);
        if (i == 0) {
            total = part;
        } else {
            imageCalculator("Add", total, part);
            discard(part);
        }
    }
    selectImage(total);
    return total;
}

function colours_of(image) {
    return newArray(colour(image, 0), colour(image, 1), colour(image, 2));
}

function luma(image) {
    total = weighted(colours_of(image), newArray(9798, 19235, 3735));
    run("Divide...", "value=32768");
    return clipped(total);
}

// The amount of a stain (0, 1, 2), 200 levels per unit; weights are the columns of the inverted matrix of colours.
function stain(image, weights) {
    planes = colours_of(image);
    for (i = 0; i < 3; i++) {
        part = in_float(planes[i]);
        run("Add...", "value=1");
        run("Divide...", "value=256");
        run("Log");
        run("Multiply...", "value=" + decimal(-200 * weights[i] / log(10)));
        discard(planes[i]);
        planes[i] = part;
    }
    return to_gray(weighted(planes, ones(3)));
}

function brightest(image) {
    planes = colours_of(image);
    imageCalculator("Max", planes[0], planes[1]);
    imageCalculator("Max", planes[0], planes[2]);
    discard(planes[1]);
    discard(planes[2]);
    return planes[0];
}

// Red, green and blue in one 32-bit image, 65536 R + 256 G + B.
function packed(image) {
    return weighted(colours_of(image), newArray(65536, 256, 1));
}

// Hue on 0..255 and saturation, by tables of reciprocals in 4096ths as in OpenCV.
function hue(image) {
    colours = packed(image);
    run("Macro...", "code=[" +
        "red=floor(v/65536); green=floor(v/256)%256; blue=v%256;" +
        "most=maxOf(red,maxOf(green,blue)); apart=most-minOf(red,minOf(green,blue)); share=0;" +
        "if (apart>0) share=round(256*4096/(6*apart));" +
        "turn=red-green+4*apart; if (most==green) turn=blue-red+2*apart; if (most==red) turn=green-blue;" +
        "v=floor((turn*share+2048)/4096); if (v<0) v=v+256;]");
    return clipped(colours);
}

function saturation(image) {
    colours = packed(image);
    run("Macro...", "code=[" +
        "red=floor(v/65536); green=floor(v/256)%256; blue=v%256;" +
        "most=maxOf(red,maxOf(green,blue)); apart=most-minOf(red,minOf(green,blue)); share=0;" +
        "if (most>0) share=round(255*4096/most);" +
        "v=floor((apart*share+2048)/4096);]");
    return clipped(colours);
}

// The cube root of X, Y or Z, which red, green and blue make up in 4096ths, in 32768ths as in OpenCV.
function root_of(image, weights) {
    table = newArray(256);
    for (i = 0; i < 256; i++) {
        if (i / 255 <= 0.04045) table[i] = half_even(2040 * i / 255 / 12.92);
        else table[i] = half_even(2040 * pow((i / 255 + 0.055) / 1.055, 2.4));
    }
    planes = colours_of(image);
    for (k = 0; k < 3; k++) {
        part = looked_up_wide(planes[k], table);
        discard(planes[k]);
        planes[k] = part;
    }
    root = weighted(planes, weights);
    run("Macro...", "code=[t=floor((v+2048)/4096)/2040;" +
        "if (t<0.008856) t=t*7.787+16/116; else t=pow(t,1/3);" +
        "v=round(32768*t);]");
    return root;
}

// L, a or b, with neutral colours at a = b = 128.
function lab(image, channel) {
    luminance = root_of(image, newArray(871, 2929, 296));
    if (channel == "L") {
        run("Multiply...", "value=296");
        run("Subtract...", "value=1336934");
    } else {
        if (channel == "a") {
            other = root_of(image, newArray(1777, 1541, 778));
            imageCalculator("Subtract", luminance, other);
            gain = -500;
        } else {
            other = root_of(image, newArray(73, 448, 3575));
            imageCalculator("Subtract", luminance, other);
            gain = 200;
        }
        discard(other);
        selectImage(luminance);
        run("Multiply...", "value=" + gain);
        run("Add...", "value=4194304");
    }
    run("Divide...", "value=32768");
    return clipped(luminance);
}

function evoseg_plane(image, channel) {
    if (lengthOf(channel) == 1 && indexOf("RGB", channel) >= 0) return colour(image, indexOf("RGB", channel));
    if (channel == "gray") return luma(image);
    if (channel == "V") return brightest(image);
    if (channel == "H") return hue(image);
    if (channel == "S") return saturation(image);
    if (channel == "hematoxylin") return stain(image, newArray(1.874787448, -0.065795923, -0.60088325));
    if (channel == "eosin") return stain(image, newArray(-1.006216491, 1.133083819, -0.479717082));
    if (channel == "dab") return stain(image, newArray(-0.557837113, -0.135941267, 1.578458657));
    return lab(image, channel);
}

function evoseg_channel(image, index) {
    return to_8_bit(native_channel(image, index));
}

function evoseg_mix(image, weights, offset) {
    channels = number_of_channels(image);
    if (channels == 1) {
        for (i = 1; i < minOf(3, weights.length); i++) weights[0] += weights[i];
    }
    n = minOf(channels, weights.length);
    planes = newArray(n);
    for (i = 0; i < n; i++) planes[i] = to_8_bit(native_channel(image, i));
    total = weighted(planes, weights);
    run("Add...", "value=" + decimal(offset));
    return to_gray(total);
}

// Changes a channel to 8 bit, low and high to 0 and 255.
function windowed(plane, low, high, scale) {
    selectImage(plane);
    run("32-bit");
    run("Subtract...", "value=" + d2s(low, -9));
    if (low == high) {
        run("Multiply...", "value=1000000000");
    } else {
        run("Divide...", "value=" + d2s(high - low, -9));
    }
    run("Min...", "value=0");
    run("Max...", "value=1");
    if (scale == "sqrt") run("Square Root");
    if (scale == "log") {
        run("Multiply...", "value=255");
        run("Add...", "value=1");
        run("Log");
        run("Divide...", "value=" + decimal(log(256)));
    }
    run("Multiply...", "value=255");
    return to_gray(plane);
}

function evoseg_window(image, index, low, high, scale) {
    return windowed(native_channel(image, index), low, high, scale);
}

function evoseg_window_percentile(image, index, low, high, scale) {
    plane = native_channel(image, index);
    step = maxOf(1, Math.ceil(sqrt(getWidth() * getHeight() / 65536)));
    sample = newArray(Math.ceil(getWidth() / step) * Math.ceil(getHeight() / step));
    i = 0;
    for (y = 0; y < getHeight(); y += step) {
        for (x = 0; x < getWidth(); x += step) sample[i++] = getPixel(x, y);
    }
    Array.sort(sample);
    last = sample.length - 1;
    return windowed(plane, sample[half_even(low / 100 * last)], sample[half_even(high / 100 * last)], scale);
}

function evoseg_gaussian(plane, sigma) {
    return smooth(plane, sigma);
}

function evoseg_box(plane, radius) {
    return clipped(means(plane, radius));
}

// The median over 5 x 5 pixels, edge pixels repeated: of 25 shifted copies in a stack.
function median_5(plane) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    newImage("shifted", "8-bit black", width, height, 25);
    stack = getImageID();
    for (i = 0; i < 25; i++) {
        across = newArray(5);
        across[i % 5] = 1;
        down = newArray(5);
        down[floor(i / 5)] = 1;
        part = copied(plane);
        run("Convolve...", "text1=[" + text_of(across, " ") + "\n]");
        run("Convolve...", "text1=[" + text_of(down, "\n") + "]");
        run("Select All");
        run("Copy");
        discard(part);
        selectImage(stack);
        setSlice(i + 1);
        run("Paste");
    }
    run("Select None");
    run("Z Project...", "projection=Median");
    result = getImageID();
    discard(stack);
    return result;
}

function evoseg_median(plane, radius) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    factor = 1;
    if (radius > 2) factor = reduction(radius, 1.5);
    small = shrunk(plane, factor);
    if (radius / factor >= 1.5) {
        calm = median_5(small);
    } else {
        calm = copied(small);
        run("Median...", "radius=1");
    }
    discard(small);
    return enlarged(calm, factor, width, height);
}

function evoseg_guided(plane, radius, eps) {
    mean = means(plane, radius);
    slope = variances(plane, mean, radius);
    floor_added = copied(slope);
    run("Add...", "value=" + decimal(eps * eps));
    imageCalculator("Divide", slope, floor_added);
    discard(floor_added);
    level = joined("Multiply", slope, mean);
    imageCalculator("Subtract", mean, level);
    discard(level);
    level = means(mean, radius);
    discard(mean);
    mean = means(slope, radius);
    discard(slope);
    slope = joined("Multiply", mean, plane);
    imageCalculator("Add", slope, level);
    discard(level);
    discard(mean);
    return to_gray(slope);
}

// (1 - weight) a + weight b + offset for two planes.
function sum_of(a, b, weight_a, weight_b, offset) {
    total = weighted(newArray(copied(a), copied(b)), newArray(weight_a, weight_b));
    run("Add...", "value=" + decimal(offset));
    return to_gray(total);
}

function evoseg_sharpen(plane, sigma, amount) {
    calm = smooth(plane, sigma);
    result = sum_of(plane, calm, 1 + amount, -amount, 0);
    discard(calm);
    return result;
}

function evoseg_kernel(plane, weights, offset) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    side = sqrt(weights.length);
    margin = floor(side / 2);
    values = mirrored(plane, margin);
    run("32-bit");
    text = "";
    for (i = 0; i < weights.length; i++) {
        text = text + decimal(weights[i]) + " ";
        if (i % side == side - 1) text = text + "\n";
    }
    run("Convolve...", "text1=[" + text + "]");
    run("Add...", "value=" + decimal(offset));
    return to_gray(cropped(values, margin, margin, width, height));
}

function evoseg_invert(plane) {
    result = copied(plane);
    run("Invert");
    return result;
}

function evoseg_gamma(plane, exponent) {
    table = newArray(256);
    for (i = 0; i < 256; i++) table[i] = half_even(255 * pow(i / 255, exponent));
    return looked_up(plane, table);
}

function evoseg_stretch(plane, low, high) {
    table = newArray(256);
    for (i = 0; i < 256; i++) {
        if (low == high) table[i] = 255 * (i > low);
        else table[i] = half_even(minOf(maxOf(255 * (i - low) / (high - low), 0), 255));
    }
    return looked_up(plane, table);
}

function evoseg_curve(plane, points) {
    table = newArray(256);
    for (i = 0; i < 256; i++) table[i] = half_even(interpolated(i, points, 0, points.length));
    return looked_up(plane, table);
}

function evoseg_equalise(plane) {
    selectImage(plane);
    total = getWidth() * getHeight();
    getHistogram(levels, counts, 256);
    first = 0;
    while (counts[first] == 0) first++;
    table = newArray(256);
    if (counts[first] == total) {
        Array.fill(table, first);
        return looked_up(plane, table);
    }
    below = 0;
    for (i = first + 1; i < 256; i++) {
        below += counts[i];
        table[i] = half_even(below * (255 / (total - counts[first])));
    }
    return looked_up(plane, table);
}

function evoseg_local_normalise(plane, radius, gain) {
    mean = means(plane, radius);
    spread = variances(plane, mean, radius);
    run("Square Root");
    run("Add...", "value=2");
    above = joined("Subtract", plane, mean);
    run("Multiply...", "value=" + decimal(gain));
    imageCalculator("Divide", above, spread);
    discard(spread);
    discard(mean);
    selectImage(above);
    run("Add...", "value=128");
    return to_gray(above);
}

function evoseg_flatten(plane, sigma) {
    calm = smooth(plane, sigma);
    result = sum_of(plane, calm, 1, -1, 128);
    discard(calm);
    return result;
}

function evoseg_flatten_median(plane, radius) {
    calm = evoseg_median(plane, radius);
    result = sum_of(plane, calm, 1, -1, 128);
    discard(calm);
    return result;
}

// gain a / b; zeros in b count as ones.
function quotient(a, b, gain) {
    result = in_float(a);
    run("Multiply...", "value=" + decimal(gain));
    divisor = in_float(b);
    run("Min...", "value=1");
    imageCalculator("Divide", result, divisor);
    discard(divisor);
    return to_gray(result);
}

function evoseg_divide_background(plane, sigma) {
    calm = smooth(plane, sigma);
    result = quotient(plane, calm, 128);
    discard(calm);
    return result;
}

function evoseg_deviation(plane, radius) {
    mean = means(plane, radius);
    spread = variances(plane, mean, radius);
    discard(mean);
    selectImage(spread);
    run("Square Root");
    run("Multiply...", "value=2");
    return to_gray(spread);
}

function repeated(plane, filter, radius, times) {
    selectImage(plane);
    for (i = 0; i < times; i++) run(filter, "radius=" + radius);
    return plane;
}

function evoseg_local_range(plane, radius) {
    most = repeated(copied(plane), "Maximum...", 1, radius);
    least = repeated(copied(plane), "Minimum...", 1, radius);
    imageCalculator("Subtract", most, least);
    discard(least);
    return most;
}

function evoseg_lbp_rough(plane, radius, contrast) {
    apart = clipped_mean_of_8(plane);
    imageCalculator("Difference", apart, plane);
    lone = beyond(apart, contrast, "bright");
    result = evoseg_box(lone, radius);
    discard(lone);
    discard(apart);
    return result;
}

function clipped_mean_of_8(plane) {
    values = correlated_3(plane, newArray(0.125, 0.125, 0.125, 0.125, 0, 0.125, 0.125, 0.125, 0.125));
    return to_gray(values);
}

function gradient_magnitude(plane) {
    across = correlated_3(plane, newArray(-1, 0, 1, -2, 0, 2, -1, 0, 1));
    down = correlated_3(plane, newArray(-1, -2, -1, 0, 0, 0, 1, 2, 1));
    return length_of(across, down);
}

function evoseg_energy(plane, radius) {
    steep = gradient_magnitude(plane);
    run("Multiply...", "value=0.5");
    to_gray(steep);
    result = evoseg_box(steep, radius);
    discard(steep);
    return result;
}

function evoseg_gradient_density(plane, radius, contrast) {
    steep = gradient_magnitude(plane);
    run("Macro...", "code=v=255*(v>" + decimal(4 * contrast) + ")");
    clipped(steep);
    result = evoseg_box(steep, radius);
    discard(steep);
    return result;
}

function evoseg_sobel(plane, gain) {
    steep = gradient_magnitude(plane);
    run("Multiply...", "value=" + decimal(gain / 4));
    return to_gray(steep);
}

function evoseg_gradient(plane, sigma) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    factor = reduction(sigma, 1.5);
    calm = smooth_fine(plane, sigma, factor);
    across = correlated_3(calm, newArray(0, 0, 0, -1, 0, 1, 0, 0, 0));
    down = correlated_3(calm, newArray(0, -1, 0, 0, 0, 0, 0, 1, 0));
    discard(calm);
    steep = length_of(across, down);
    run("Multiply...", "value=" + decimal(2 * sqrt(2 * PI) * sigma / factor / 2));
    return enlarged(to_gray(steep), factor, width, height);
}

function evoseg_slope(plane, angle, polarity) {
    right = cos(angle * PI / 180);
    up = sin(angle * PI / 180);
    response = correlated_3(plane, newArray(up - right, 2 * up, right + up, -2 * right, 0, 2 * right, -right - up, -2 * up, right - up));
    if (polarity == "bright") return signed_gray(response, 0.5, polarity);
    run("Add...", "value=12582912");
    run("Subtract...", "value=12582912");
    return signed_gray(response, 0.5, polarity);
}

function evoseg_laplacian(plane, polarity) {
    return signed_gray(correlated_3(plane, newArray(0, -1, 0, -1, 4, -1, 0, -1, 0)), 1, polarity);
}

function evoseg_log_filter(plane, sigma, polarity) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    factor = reduction(sigma, 1.5);
    calm = smooth_fine(plane, sigma, factor);
    response = correlated_3(calm, newArray(0, -1, 0, -1, 4, -1, 0, -1, 0));
    discard(calm);
    return enlarged(signed_gray(response, 2 * (sigma / factor) * (sigma / factor), polarity), factor, width, height);
}

function gaussian_difference(plane, small, large, gain, polarity) {
    values = in_float(plane);
    calm = smooth(values, small);
    broad = smooth(values, large);
    imageCalculator("Subtract", calm, broad);
    discard(broad);
    discard(values);
    return signed_gray(calm, gain, polarity);
}

function evoseg_dog(plane, sigma, ratio, polarity) {
    return gaussian_difference(plane, sigma, sigma * ratio, 4, polarity);
}

function evoseg_bandpass(plane, low, high, polarity) {
    return gaussian_difference(plane, low / 4, maxOf(high, 1.2 * low) / 4, 2, polarity);
}

function evoseg_highpass(plane, size, polarity) {
    values = in_float(plane);
    calm = smooth(values, size / 4);
    imageCalculator("Subtract", values, calm);
    discard(calm);
    return signed_gray(values, 2, polarity);
}

// The eigenvalue of the Hessian whose part by direction has this weight.
function eigenvalue(plane, sigma, polarity, of_spread) {
    selectImage(plane);
    width = getWidth();
    height = getHeight();
    factor = reduction(sigma, 1.5);
    unit = (sigma / factor) * (sigma / factor);
    calm = smooth_fine(plane, sigma, factor);
    half_sum = correlated_3(calm, newArray(0, 0.5, 0, 0.5, -2, 0.5, 0, 0.5, 0));
    half_difference = correlated_3(calm, newArray(0, -0.5, 0, 0.5, 0, 0.5, 0, -0.5, 0));
    mixed = correlated_3(calm, newArray(0.25, 0, -0.25, 0, 0, 0, -0.25, 0, 0.25));
    discard(calm);
    spread = length_of(half_difference, mixed);
    sign = 4;
    if (polarity == "bright") sign = -4;
    total = weighted(newArray(half_sum, spread), newArray(sign * unit, of_spread * unit));
    return enlarged(to_gray(total), factor, width, height);
}

function evoseg_hessian_ridge(plane, sigma, polarity) {
    return eigenvalue(plane, sigma, polarity, 4);
}

function evoseg_blob(plane, sigma, polarity) {
    return eigenvalue(plane, sigma, polarity, -4);
}

function evoseg_ridge_multiscale(plane, sigma_low, n, ratio, polarity) {
    best = eigenvalue(plane, sigma_low, polarity, 4);
    for (scale = 1; scale < n; scale++) {
        other = eigenvalue(plane, sigma_low * pow(ratio, scale), polarity, 4);
        imageCalculator("Max", best, other);
        discard(other);
    }
    return best;
}

// A disk, or above radius 3 an octagon: a square and then a diamond.
function by_disk(plane, filter, radius) {
    result = copied(plane);
    if (radius <= 3) return repeated(result, filter, radius, 1);
    half = half_even(radius * (sqrt(2) - 1));
    repeated(result, filter, 1, half);
    return repeated(result, filter, 0.5, radius - half);
}

function evoseg_erode(plane, radius) {
    return by_disk(plane, "Minimum...", radius);
}

function evoseg_dilate(plane, radius) {
    return by_disk(plane, "Maximum...", radius);
}

function evoseg_open(plane, radius) {
    least = by_disk(plane, "Minimum...", radius);
    result = by_disk(least, "Maximum...", radius);
    discard(least);
    return result;
}

function evoseg_close(plane, radius) {
    most = by_disk(plane, "Maximum...", radius);
    result = by_disk(most, "Minimum...", radius);
    discard(most);
    return result;
}

function evoseg_white_tophat(plane, radius) {
    opened = evoseg_open(plane, radius);
    imageCalculator("Subtract create", plane, opened);
    result = getImageID();
    discard(opened);
    return result;
}

function evoseg_black_tophat(plane, radius) {
    closed = evoseg_close(plane, radius);
    imageCalculator("Subtract", closed, plane);
    return closed;
}

function evoseg_morph_gradient(plane, radius) {
    most = by_disk(plane, "Maximum...", radius);
    least = by_disk(plane, "Minimum...", radius);
    imageCalculator("Subtract", most, least);
    discard(least);
    return most;
}

// Grows a marker under a limit, pixel by pixel.
function grown_within(marker, limit, steps) {
    for (i = 0; i < steps; i++) {
        selectImage(marker);
        run("Maximum...", "radius=1");
        imageCalculator("Min", marker, limit);
    }
    return marker;
}

function evoseg_reconstruct_open(plane, radius, steps) {
    return grown_within(by_disk(plane, "Minimum...", radius), plane, steps);
}

function calculated(how, a, b) {
    imageCalculator(how + " create", a, b);
    return getImageID();
}

function evoseg_add(a, b) {
    return calculated("Add", a, b);
}

function evoseg_subtract(a, b) {
    return calculated("Subtract", a, b);
}

function evoseg_difference(a, b) {
    return calculated("Difference", a, b);
}

function evoseg_minimum(a, b) {
    return calculated("Min", a, b);
}

function evoseg_maximum(a, b) {
    return calculated("Max", a, b);
}

function evoseg_multiply(a, b) {
    result = joined("Multiply", a, b);
    selectImage(result);
    run("Divide...", "value=255");
    return to_gray(result);
}

function evoseg_hypot(a, b) {
    return to_gray(length_of(in_float(a), in_float(b)));
}

function evoseg_geometric_mean(a, b) {
    result = joined("Multiply", a, b);
    selectImage(result);
    run("Square Root");
    return to_gray(result);
}

function evoseg_blend(a, b, weight) {
    return sum_of(a, b, 1 - weight, weight, 0);
}

function evoseg_ratio(a, b, gain) {
    return quotient(a, b, gain);
}

function evoseg_combine(a, b, weights, offset) {
    return sum_of(a, b, weights[0], weights[1], offset);
}

function evoseg_polynomial(a, b, c) {
    of_a = newArray(256);
    of_b = newArray(256);
    for (i = 0; i < 256; i++) {
        t = i / 255;
        of_a[i] = half_even(2040 * (c[0] + c[1] * t + c[3] * t * t));
        of_b[i] = half_even(2040 * (c[2] * t + c[5] * t * t));
    }
    total = looked_up_wide(a, of_a);
    other = looked_up_wide(b, of_b);
    imageCalculator("Add", total, other);
    discard(other);
    other = joined("Multiply", a, b);
    selectImage(other);
    run("Multiply...", "value=" + decimal(8 * c[4] / 255));
    run("Add...", "value=12582912");
    run("Subtract...", "value=12582912");
    imageCalculator("Add", total, other);
    discard(other);
    selectImage(total);
    run("Divide...", "value=8");
    return to_gray(total);
}

// Looks every plane up in its own curve of 9 points, adds, rounds and clips.
function sum_of_curves(planes, curves) {
    for (k = 0; k < planes.length; k++) {
        table = newArray(256);
        for (i = 0; i < 256; i++) table[i] = half_even(8 * interpolated(i, curves, 9 * k, 9));
        part = looked_up_wide(planes[k], table);
        if (k == 0) {
            total = part;
        } else {
            imageCalculator("Add", total, part);
            discard(part);
        }
    }
    selectImage(total);
    run("Divide...", "value=8");
    return to_gray(total);
}

function evoseg_add_curves(a, b, curves) {
    return sum_of_curves(newArray(a, b), curves);
}

function evoseg_add_curves4(a, b, c, d, curves) {
    return sum_of_curves(newArray(a, b, c, d), curves);
}

// Marks levels from low to high; with low above high those outside.
function in_levels(plane, low, high) {
    table = newArray(256);
    for (i = 0; i < 256; i++) {
        if (low <= high) table[i] = 255 * (i >= low && i <= high);
        else table[i] = 255 * (i >= low || i <= high);
    }
    return looked_up(plane, table);
}

function beyond(plane, level, polarity) {
    table = newArray(256);
    for (i = 0; i < 256; i++) table[i] = 255 * ((i > level) == (polarity == "bright"));
    return looked_up(plane, table);
}

function evoseg_threshold(plane, level, polarity) {
    return beyond(plane, level, polarity);
}

function evoseg_level(plane, level, polarity) {
    return beyond(plane, level, polarity);
}

function evoseg_in_range(plane, low, high) {
    return in_levels(plane, low, high);
}

// Otsu's level: of the first class.
function otsu_level(plane) {
    selectImage(plane);
    getHistogram(levels, counts, 256);
    total = getWidth() * getHeight();
    mean = 0;
    for (i = 0; i < 256; i++) mean += i * counts[i] / total;
    best = 0;
    most = 0;
    share = 0;
    first = 0;
    for (i = 0; i < 256; i++) {
        p = counts[i] / total;
        first *= share;
        share += p;
        if (minOf(share, 1 - share) >= 0.00000011920929 && maxOf(share, 1 - share) <= 1 - 0.00000011920929) {
            first = (first + i * p) / share;
            second = (mean - share * first) / (1 - share);
            apart = share * (1 - share) * (first - second) * (first - second);
            if (apart > most) {
                most = apart;
                best = i;
            }
        }
    }
    return best;
}

function evoseg_otsu(plane, polarity, offset) {
    return beyond(plane, otsu_level(plane) + offset, polarity);
}

function evoseg_kmeans_class(plane, k, index) {
    selectImage(plane);
    getHistogram(levels, counts, 256);
    lowest = 0;
    highest = 255;
    while (counts[lowest] == 0) lowest++;
    while (counts[highest] == 0) highest--;
    centres = newArray(k);
    for (i = 0; i < k; i++) centres[i] = lowest + (highest - lowest) * (i + 0.5) / k;
    edges = newArray(k + 1);
    edges[k] = 256;
    for (turn = 0; turn < 24; turn++) {
        for (i = 1; i < k; i++) edges[i] = floor((centres[i - 1] + centres[i]) / 2) + 1;
        for (i = 0; i < k; i++) {
            n = 0;
            total = 0;
            for (level = edges[i]; level < edges[i + 1]; level++) {
                n += counts[level];
                total += level * counts[level];
            }
            if (n > 0) centres[i] = total / n;
        }
    }
    chosen = minOf(index, k - 1);
    if (edges[chosen] >= edges[chosen + 1]) return beyond(plane, 255, "bright");
    return in_levels(plane, edges[chosen], edges[chosen + 1] - 1);
}

function evoseg_local_mean(plane, window, offset, polarity) {
    mean = evoseg_box(plane, (window - 1) / 2);
    apart = joined("Subtract", plane, mean);
    discard(mean);
    selectImage(apart);
    if (polarity != "bright") run("Multiply...", "value=-1");
    run("Macro...", "code=v=255*(v>" + offset + ")");
    return clipped(apart);
}

function evoseg_sauvola(plane, window, k, polarity) {
    source = copied(plane);
    if (polarity != "dark") run("Invert");
    radius = (window - 1) / 2;
    mean = means(source, radius);
    spread = variances(source, mean, radius);
    run("Square Root");
    run("Multiply...", "value=" + decimal(k / 128));
    run("Add...", "value=" + decimal(1 - k));
    imageCalculator("Multiply", mean, spread);
    discard(spread);
    below = joined("Subtract", mean, source);
    discard(source);
    discard(mean);
    selectImage(below);
    run("Macro...", "code=v=255*(v>0)");
    return clipped(below);
}

function evoseg_regional_maxima(plane, h, polarity) {
    source = copied(plane);
    if (polarity != "bright") run("Invert");
    lowered = copied(source);
    run("Subtract...", "value=" + h);
    grown_within(lowered, source, 32);
    imageCalculator("Subtract", source, lowered);
    result = beyond(source, h - 1, "bright");
    discard(lowered);
    discard(source);
    return result;
}

// Changes a mask: of its objects (8-connected) those stay that another mask touches.
function touched(mask, seed) {
    selectImage(seed);
    width = getWidth();
    height = getHeight();
    hit = calculated("AND", seed, mask);
    xs = newArray(0);
    getHistogram(levels, counts, 256);
    places = newArray(counts[255]);
    n = 0;
    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            if (getPixel(x, y) > 0) places[n++] = y * width + x;
        }
    }
    discard(hit);
    selectImage(mask);
    setColor(128);
    for (i = 0; i < n; i++) {
        x = places[i] % width;
        y = floor(places[i] / width);
        if (getPixel(x, y) == 255) floodFill(x, y, "8-connected");
    }
    result = in_levels(mask, 128, 128);
    discard(mask);
    return result;
}

function evoseg_hysteresis(plane, low, high, polarity) {
    if (polarity == "bright") {
        weak = beyond(plane, minOf(low, high), polarity);
        strong = beyond(plane, maxOf(low, high), polarity);
    } else {
        weak = beyond(plane, maxOf(low, high), polarity);
        strong = beyond(plane, minOf(low, high), polarity);
    }
    result = touched(weak, strong);
    discard(strong);
    return result;
}

// Objects (8-connected) whose area lies between two, both included.
function by_area(mask, low, high) {
    source = copied(mask);
    setThreshold(255, 255);
    run("Analyze Particles...", "size=" + low + "-" + high + " pixel show=Masks");
    result = getImageID();
    run("Grays");
    discard(source);
    return result;
}

function evoseg_remove_small(mask, area) {
    return by_area(mask, area, "Infinity");
}

function evoseg_remove_large(mask, area) {
    return by_area(mask, 0, area);
}

function evoseg_keep_area(mask, low, high) {
    return by_area(mask, minOf(low, high), maxOf(low, high));
}

// Measures objects (8-connected): one line of the results table for each, with its area and a pixel of it.
function measured(mask) {
    source = copied(mask);
    run("Set Scale...", "distance=0");
    setThreshold(255, 255);
    run("Set Measurements...", "area redirect=None decimal=3");
    run("Analyze Particles...", "size=0-Infinity pixel show=Nothing display clear record");
    discard(source);
}

function evoseg_keep_largest(mask, count) {
    measured(mask);
    if (nResults <= count) return copied(mask);
    order = newArray(nResults);
    for (i = 0; i < nResults; i++) order[i] = i - getResult("Area", i) * nResults;
    Array.sort(order);
    result = copied(mask);
    setColor(128);
    for (i = 0; i < count; i++) {
        one = order[i] - nResults * floor(order[i] / nResults);
        floodFill(getResult("XStart", one), getResult("YStart", one), "8-connected");
    }
    kept = in_levels(result, 128, 128);
    discard(result);
    return kept;
}

function evoseg_fill_holes(mask, area) {
    result = copied(mask);
    run("Fill Holes");
    if (area == 0) return result;
    holes = calculated("Subtract", result, mask);
    discard(result);
    result = copied(mask);
    for (y = 0; y < getHeight(); y++) {
        for (x = 0; x < getWidth(); x++) {
            selectImage(holes);
            if (getPixel(x, y) == 255) {
                setColor(128);
                floodFill(x, y);
                getHistogram(levels, counts, 256);
                setColor(64);
                floodFill(x, y);
                if (counts[128] <= area) {
                    selectImage(result);
                    setColor(255);
                    floodFill(x, y);
                }
            }
        }
    }
    discard(holes);
    return result;
}

function evoseg_clear_border(mask, margin) {
    selectImage(mask);
    width = getWidth();
    height = getHeight();
    result = copied(mask);
    setColor(0);
    for (y = 0; y < height; y++) {
        for (x = 0; x < width; x++) {
            if (x == margin && y >= margin && y < height - margin) x = maxOf(margin, width - margin);
            if (x < width) if (getPixel(x, y) == 255) floodFill(x, y, "8-connected");
        }
    }
    return result;
}

function evoseg_reconstruct_mask(seed, limit) {
    return touched(copied(limit), seed);
}

function evoseg_open_mask(mask, radius) {
    return evoseg_open(mask, radius);
}

function evoseg_close_mask(mask, radius) {
    return evoseg_close(mask, radius);
}

function evoseg_dilate_mask(mask, radius) {
    return by_disk(mask, "Maximum...", radius);
}

function evoseg_erode_mask(mask, radius) {
    return by_disk(mask, "Minimum...", radius);
}

function evoseg_majority(mask, radius) {
    share = means(mask, radius);
    run("Macro...", "code=v=255*(v>127.5)");
    return clipped(share);
}

function thinning_table(second) {
    stays = newArray(256);
    bits = newArray(9);
    for (code = 0; code < 256; code++) {
        neighbours = 0;
        for (at = 0; at < 8; at++) {
            bits[at] = floor(code / pow(2, at)) % 2;
            neighbours += bits[at];
        }
        bits[8] = bits[0];
        rises = 0;
        for (at = 0; at < 8; at++) rises += (1 - bits[at]) * bits[at + 1];
        if (second) corner = bits[0] * bits[6] * (bits[2] + bits[4]);
        else corner = bits[2] * bits[4] * (bits[0] + bits[6]);
        stays[code] = 255 * !(neighbours >= 2 && neighbours <= 6 && rises == 1 && corner == 0);
    }
    return stays;
}

function evoseg_skeleton(mask) {
    selectImage(mask);
    width = getWidth();
    height = getHeight();
    thin = copied(mask);
    run("Canvas Size...", "width=" + width + 2 + " height=" + height + 2 + " position=Center zero");
    for (layer = 0; layer < 40; layer++) {
        codes = correlated_3(thin, newArray(128, 1, 2, 64, 0, 4, 32, 16, 8));
        run("Divide...", "value=255");
        clipped(codes);
        stays = looked_up(codes, thinning_table(layer % 2));
        imageCalculator("AND", thin, stays);
        discard(stays);
        discard(codes);
    }
    return cropped(thin, 1, 1, width, height);
}

function evoseg_invert_mask(mask) {
    return evoseg_invert(mask);
}

function evoseg_mask_and(a, b) {
    return calculated("AND", a, b);
}

function evoseg_mask_or(a, b) {
    return calculated("OR", a, b);
}

function evoseg_mask_minus(a, b) {
    return calculated("Subtract", a, b);
}

function evoseg_mask_xor(a, b) {
    return calculated("XOR", a, b);
}

function evoseg_vote(a, b, c) {
    either = calculated("OR", a, b);
    imageCalculator("AND", either, c);
    result = calculated("AND", a, b);
    imageCalculator("OR", result, either);
    discard(either);
    return result;
}

function evoseg_keep_where(plane, mask) {
    return calculated("AND", plane, mask);
}

function evoseg_density(mask, radius) {
    return evoseg_box(mask, radius);
}

function evoseg_component_area(mask) {
    measured(mask);
    result = copied(mask);
    for (i = 0; i < nResults; i++) {
        setColor(half_even(minOf(12 * log(2 * getResult("Area", i)) / log(2), 255)));
        floodFill(getResult("XStart", i), getResult("YStart", i), "8-connected");
    }
    return result;
}
