// The filters in C++, one block each, parted by empty lines; an exported file carries those that it uses.
// Planes and masks are CV_8U with one channel; masks hold 0 and 1. Numbers are rounded as in Python: half to even.

constexpr int BORDER = cv::BORDER_REFLECT;

using Numbers = std::vector<double>;

uchar to_level(double value) { return cv::saturate_cast<uchar>(std::nearbyint(value)); }

int reduction(double sigma, double finest) {
    int factor = 1;
    while (sigma / (2 * factor) >= finest) factor *= 2;
    return factor;
}

cv::Mat shrink(const cv::Mat& plane, int factor) {
    if (factor == 1) return plane;
    const int below = (factor - plane.rows % factor) % factor, right = (factor - plane.cols % factor) % factor;
    cv::Mat padded = plane, small;
    if (below || right) cv::copyMakeBorder(plane, padded, 0, below, 0, right, BORDER);
    cv::resize(padded, small, {padded.cols / factor, padded.rows / factor}, 0, 0, cv::INTER_AREA);
    return small;
}

cv::Mat enlarge(const cv::Mat& small, int factor, cv::Size size) {
    if (factor == 1) return small;
    cv::Mat large;
    cv::resize(small, large, {small.cols * factor, small.rows * factor}, 0, 0, cv::INTER_LINEAR);
    return large(cv::Rect(0, 0, size.width, size.height)).clone();
}

cv::Mat smooth(const cv::Mat& plane, double sigma) {
    const int factor = reduction(sigma, 1.5);
    const double inner = std::sqrt(sigma * sigma - (factor * factor - 1) / 4.0) / factor;
    const int side = 2 * int(std::ceil(3 * inner)) + 1;
    cv::Mat small;
    cv::GaussianBlur(shrink(plane, factor), small, {side, side}, inner, 0, BORDER);
    return enlarge(small, factor, plane.size());
}

cv::Mat smooth_fine(const cv::Mat& plane, double sigma, int factor) {
    cv::Mat values, calm;
    plane.convertTo(values, CV_32F);
    const double inner = std::sqrt(sigma * sigma - (factor * factor - 1) / 12.0) / factor;
    const int side = 2 * int(std::ceil(4 * inner)) + 1;
    cv::GaussianBlur(shrink(values, factor), calm, {side, side}, inner, 0, BORDER);
    return calm;
}

cv::Mat signed_gray(cv::Mat response, double gain, const std::string& polarity) {
    if (polarity != "both") {
        const bool positive = (gain > 0) == (polarity == "bright");
        cv::threshold(response, response, 0, 0, positive ? cv::THRESH_TOZERO : cv::THRESH_TOZERO_INV);
    }
    cv::Mat result;
    cv::convertScaleAbs(response, result, std::abs(gain));
    return result;
}

cv::Mat looked_up(const cv::Mat& plane, const std::function<double(double)>& of) {
    cv::Mat table(1, 256, CV_8U), result;
    for (int level = 0; level < 256; ++level) table.at<uchar>(level) = to_level(of(level));
    cv::LUT(plane, table, result);
    return result;
}

double interpolated(double level, const Numbers& points) {
    const double place = level * double(points.size() - 1) / 255;
    const size_t cell = std::min(size_t(place), points.size() - 2);
    const double left = 255.0 * double(cell) / double(points.size() - 1);
    const double slope = (points[cell + 1] - points[cell]) / (255.0 * double(cell + 1) / double(points.size() - 1) - left);
    return level >= 255 ? points.back() : slope * (level - left) + points[cell];
}

cv::Mat box_of(const cv::Mat& plane, int radius) {
    cv::Mat result;
    cv::blur(plane, result, {2 * radius + 1, 2 * radius + 1}, {-1, -1}, BORDER);
    return result;
}

cv::Mat zero_or_255(const cv::Mat& mask) { return mask * 255; }

cv::Mat disk(int radius) {
    cv::Mat element(2 * radius + 1, 2 * radius + 1, CV_8U);
    for (int row = -radius; row <= radius; ++row)
        for (int col = -radius; col <= radius; ++col)
            element.at<uchar>(row + radius, col + radius) = row * row + col * col <= radius * (radius + 1);
    return element;
}

std::vector<cv::Mat> disk_parts(int radius) {
    if (radius <= 3) return {disk(radius)};
    const int half = int(std::nearbyint(radius * (std::sqrt(2.0) - 1)));
    std::vector<cv::Mat> parts{cv::Mat::ones(2 * half + 1, 2 * half + 1, CV_8U)};
    for (int made = 0, wanted = radius - half; made < wanted;) {
        const int step = std::max(1, std::min(made, wanted - made));
        cv::Mat five = cv::Mat::zeros(2 * step + 1, 2 * step + 1, CV_8U);
        for (const cv::Point at : {cv::Point(step, 0), {0, step}, {step, step}, {2 * step, step}, {step, 2 * step}})
            five.at<uchar>(at) = 1;
        parts.push_back(five);
        made += step;
    }
    return parts;
}

cv::Mat dilate_disk(cv::Mat plane, int radius) {
    for (const cv::Mat& part : disk_parts(radius)) { cv::Mat grown; cv::dilate(plane, grown, part); plane = grown; }
    return plane;
}

cv::Mat erode_disk(cv::Mat plane, int radius) {
    for (const cv::Mat& part : disk_parts(radius)) { cv::Mat shrunk; cv::erode(plane, shrunk, part); plane = shrunk; }
    return plane;
}

cv::Mat open_disk(const cv::Mat& plane, int radius) {
    cv::Mat result = erode_disk(plane, radius);
    std::vector<cv::Mat> parts = disk_parts(radius);
    for (size_t i = parts.size(); i-- > 0;) { cv::Mat grown; cv::dilate(result, grown, parts[i]); result = grown; }
    return result;
}

cv::Mat close_disk(const cv::Mat& plane, int radius) {
    cv::Mat result = dilate_disk(plane, radius);
    std::vector<cv::Mat> parts = disk_parts(radius);
    for (size_t i = parts.size(); i-- > 0;) { cv::Mat shrunk; cv::erode(result, shrunk, parts[i]); result = shrunk; }
    return result;
}

std::vector<cv::Point> line_shifts(double length, double angle) {
    double right = std::cos(angle * CV_PI / 180), down = -std::sin(angle * CV_PI / 180);
    if (down < 0) { right = -right; down = -down; }
    const double major = std::max(std::abs(right), down);
    const int n = std::max(1, int(std::nearbyint(length * major)));
    std::vector<cv::Point> shifts;
    for (int made = 1; made < n;) {
        const int step = std::min(made, n - made);
        shifts.emplace_back(int(std::nearbyint(step * right / major)), int(std::nearbyint(step * down / major)));
        made += step;
    }
    return shifts;
}

cv::Point line_extent(const std::vector<cv::Point>& shifts) {
    cv::Point extent(0, 0);
    for (const cv::Point& shift : shifts) extent += cv::Point(std::abs(shift.x), shift.y);
    return extent;
}

enum class Join { least, most, sum };

cv::Mat along_line(cv::Mat plane, const std::vector<cv::Point>& shifts, Join join) {
    for (const cv::Point& shift : shifts) {
        const cv::Size size(plane.cols - std::abs(shift.x), plane.rows - shift.y);
        const cv::Mat one = plane(cv::Rect({std::max(0, -shift.x), 0}, size));
        const cv::Mat other = plane(cv::Rect({std::max(0, shift.x), shift.y}, size));
        cv::Mat joined;
        if (join == Join::least) cv::min(one, other, joined);
        else if (join == Join::most) cv::max(one, other, joined);
        else cv::add(one, other, joined);
        plane = joined;
    }
    return plane;
}

cv::Mat by_line(const cv::Mat& plane, int length, double angle, Join first, Join second) {
    cv::Mat padded;
    cv::copyMakeBorder(plane, padded, length, length, length, length, cv::BORDER_REFLECT);
    const std::vector<cv::Point> shifts = line_shifts(length, angle);
    const cv::Point extent = line_extent(shifts);
    const cv::Rect window(length - extent.x, length - extent.y, plane.cols + 2 * extent.x, plane.rows + 2 * extent.y);
    return along_line(along_line(padded(window), shifts, first), shifts, second);
}

cv::Mat square_of(const Numbers& numbers) {
    const int side = int(std::lround(std::sqrt(double(numbers.size()))));
    cv::Mat result(side, side, CV_32F);
    for (int i = 0; i < side * side; ++i) result.at<float>(i / side, i % side) = float(numbers[i]);
    return result;
}

cv::Mat free_element(const Numbers& footprint) {
    cv::Mat element = (square_of(footprint) >= 0.5f) / 255;
    if (!cv::countNonZero(element)) element.at<uchar>(element.rows / 2, element.cols / 2) = 1;
    return element;
}

void local_moments(const cv::Mat& plane, int radius, cv::Mat& mean, cv::Mat& spread) {
    const cv::Size side(2 * radius + 1, 2 * radius + 1);
    cv::Mat square;
    cv::boxFilter(plane, mean, CV_32F, side, {-1, -1}, true, BORDER);
    cv::sqrBoxFilter(plane, spread, CV_32F, side, {-1, -1}, true, BORDER);
    cv::multiply(mean, mean, square);
    cv::subtract(spread, square, spread);
    cv::threshold(spread, spread, 0, 0, cv::THRESH_TOZERO);
    cv::sqrt(spread, spread);
}

cv::Mat to_8_bit(const cv::Mat& values) {
    cv::Mat result;
    if (values.depth() == CV_8U) return values.clone();
    if (values.depth() == CV_16U) {
        result.create(values.size(), CV_8UC(values.channels()));
        for (int row = 0; row < values.rows; ++row)
            for (int col = 0; col < values.cols * values.channels(); ++col)
                result.ptr<uchar>(row)[col] = uchar(values.ptr<ushort>(row)[col] >> 8);
        return result;
    }
    cv::Mat clipped = values.clone();
    cv::patchNaNs(clipped, 0);
    cv::min(cv::max(clipped, 0), 1, clipped);
    cv::convertScaleAbs(clipped, result, 255);
    return result;
}

cv::Mat native_channel(const cv::Mat& image, int index) {
    cv::Mat values;
    cv::extractChannel(image, values, std::min(index, image.channels() - 1));
    if (values.depth() == CV_32F) {
        cv::patchNaNs(values, 0);
        cv::min(cv::max(values, -1e9f), 1e9f, values);
    }
    return values;
}

cv::Mat first_three(const cv::Mat& image) {
    std::vector<cv::Mat> planes;
    for (int index = 0; index < 3; ++index) planes.push_back(to_8_bit(native_channel(image, image.channels() >= 3 ? index : 0)));
    cv::Mat result;
    cv::merge(planes, result);
    return result;
}

cv::Mat plane(const cv::Mat& image, const std::string& channel) {
    if (channel == "R" || channel == "G" || channel == "B") {
        const int index = int(std::string("RGB").find(channel));
        return to_8_bit(native_channel(image, image.channels() >= 3 ? index : 0));
    }
    const cv::Mat colours = first_three(image);
    cv::Mat result, turned;
    if (channel == "hematoxylin" || channel == "eosin" || channel == "dab") {
        cv::Matx33d stains(0.65, 0.70, 0.29, 0.07, 0.99, 0.11, 0.27, 0.57, 0.78);
        for (int i = 0; i < 3; ++i) {
            const double length = cv::norm(stains.row(i));
            for (int j = 0; j < 3; ++j) stains(i, j) /= length;
        }
        const cv::Matx33d weights = stains.inv();
        const int stain = channel == "hematoxylin" ? 0 : channel == "eosin" ? 1 : 2;
        std::vector<cv::Mat> parts, planes;
        cv::split(colours, planes);
        for (int i = 0; i < 3; ++i) {
            cv::Mat table(1, 256, CV_32F), part;
            for (int level = 0; level < 256; ++level)
                table.at<float>(level) = float(200 * weights(i, stain) * -std::log10((level + 1) / 256.0));
            cv::LUT(planes[i], table, part);
            parts.push_back(part);
        }
        cv::add(parts[0], parts[1], turned);
        cv::add(turned, parts[2], result, cv::noArray(), CV_8U);
    } else if (channel == "gray") {
        cv::cvtColor(colours, result, cv::COLOR_RGB2GRAY);
    } else if (channel == "V") {
        std::vector<cv::Mat> planes;
        cv::split(colours, planes);
        cv::max(planes[0], planes[1], turned);
        cv::max(turned, planes[2], result);
    } else if (channel == "H" || channel == "S") {
        cv::cvtColor(colours, turned, cv::COLOR_RGB2HSV_FULL);
        cv::extractChannel(turned, result, channel == "H" ? 0 : 1);
    } else {
        cv::cvtColor(colours, turned, cv::COLOR_RGB2Lab);
        cv::extractChannel(turned, result, int(std::string("Lab").find(channel)));
    }
    return result;
}

cv::Mat channel(const cv::Mat& image, int index) { return to_8_bit(native_channel(image, index)); }

cv::Mat mix(const cv::Mat& image, Numbers weights, double offset) {
    cv::Mat total(image.size(), CV_32F, cv::Scalar(offset)), result;
    if (image.channels() == 1) {
        double sum = 0;
        for (size_t i = 0; i < std::min<size_t>(3, weights.size()); ++i) sum += weights[i];
        weights = {sum};
    }
    for (int index = 0; index < std::min(image.channels(), int(weights.size())); ++index) {
        if (weights[index] == 0) continue;
        cv::Mat values;
        to_8_bit(native_channel(image, index)).convertTo(values, CV_32F);
        cv::scaleAdd(values, weights[index], total, total);
    }
    cv::addWeighted(total, 1, total, 0, 0, result, CV_8U);
    return result;
}

cv::Mat windowed(const cv::Mat& values, double low, double high, const std::string& scale) {
    const float span = float(high) - float(low);
    cv::Mat share, result;
    if (std::abs(span) < std::numeric_limits<float>::min()) return values > low;
    values.convertTo(share, CV_32F);
    for (int row = 0; row < share.rows; ++row)
        for (int col = 0; col < share.cols; ++col) {
            float& value = share.at<float>(row, col);
            value = std::min(std::max((value - float(low)) / span, 0.0f), 1.0f);
            if (scale == "log") { value *= 255.0f; value += 1.0f; }
        }
    if (scale == "log") {
        cv::log(share, share);
        cv::convertScaleAbs(share, result, 255 / std::log(256.0));
        return result;
    }
    if (scale == "sqrt") cv::sqrt(share, share);
    cv::convertScaleAbs(share, result, 255);
    return result;
}

cv::Mat window(const cv::Mat& image, int index, double low, double high, const std::string& scale) {
    return windowed(native_channel(image, index), low, high, scale);
}

cv::Mat window_percentile(const cv::Mat& image, int index, double low, double high, const std::string& scale) {
    const cv::Mat values = native_channel(image, index);
    const int step = std::max(1, int(std::ceil(std::sqrt(double(values.total()) / 65536))));
    std::vector<double> sample;
    cv::Mat exact;
    values.convertTo(exact, CV_64F);
    for (int row = 0; row < values.rows; row += step)
        for (int col = 0; col < values.cols; col += step) sample.push_back(exact.at<double>(row, col));
    std::sort(sample.begin(), sample.end());
    const auto at = [&](double p) { return sample[size_t(std::nearbyint(p / 100 * double(sample.size() - 1)))]; };
    return windowed(values, at(low), at(high), scale);
}

cv::Mat continued(const cv::Mat& plane, int above, int below, int left, int right) {
    cv::Mat wide;
    cv::copyMakeBorder(plane, wide, above, below, left, right, cv::BORDER_REFLECT_101);
    for (int row = 0; row < wide.rows; ++row) {
        const int edge = row < above ? above : above + plane.rows - 1;
        if (row >= above && row < above + plane.rows) continue;
        for (int col = 0; col < wide.cols; ++col)
            wide.at<float>(row, col) = 2 * wide.at<float>(edge, col) - wide.at<float>(row, col);
    }
    for (int row = 0; row < wide.rows; ++row)
        for (int col = 0; col < wide.cols; ++col) {
            const int edge = col < left ? left : left + plane.cols - 1;
            if (col < left || col >= left + plane.cols)
                wide.at<float>(row, col) = 2 * wide.at<float>(row, edge) - wide.at<float>(row, col);
        }
    return wide;
}

cv::Mat smooth_slopes(const cv::Mat& plane, double sigma) {
    const int factor = reduction(sigma, 1.5);
    const double inner = std::sqrt(sigma * sigma - (factor * factor - 1) / 4.0) / factor;
    const int radius = int(std::ceil(3 * inner)), edge = radius + 1, side = 2 * radius + 1;
    const int below = (factor - plane.rows % factor) % factor, right = (factor - plane.cols % factor) % factor;
    cv::Mat small = continued(shrink(continued(plane, 0, below, 0, right), factor), edge, edge, edge, edge), calm;
    cv::GaussianBlur(small, calm, {side, side}, inner, 0, BORDER);
    calm = calm(cv::Rect(radius, radius, calm.cols - 2 * radius, calm.rows - 2 * radius)).clone();
    const cv::Mat large = enlarge(calm, factor, {factor * calm.cols, factor * calm.rows});
    return large(cv::Rect(factor, factor, plane.cols, plane.rows)).clone();
}

cv::Mat window_flat(const cv::Mat& image, int index, double sigma, double low, double high) {
    cv::Mat values;
    native_channel(image, index).convertTo(values, CV_32F);
    return windowed(values - smooth_slopes(values, sigma), low, high, "linear");
}

cv::Mat gaussian(const cv::Mat& plane, double sigma) { return smooth(plane, sigma); }

cv::Mat box(const cv::Mat& plane, int radius) { return box_of(plane, radius); }

constexpr int NETWORK_STRIDE = 16;

constexpr int NETWORK_TILE = 3 << 19;

struct NetworkFacts {
    int channels, reduction, reach;
    std::vector<std::string> outputs;
    std::vector<cv::Vec2d> brightness;
};

using NetworkTable = std::map<std::string, NetworkFacts>;

NetworkTable network_table();

using NetworkPlanes = std::map<std::string, cv::Mat>;

NetworkPlanes given_planes;  // what the test lets a network say

std::string network_folder = ".";  // where the networks' files lie

cv::dnn::Net ready_network(const std::string& weights) {
    thread_local std::map<std::string, cv::dnn::Net> ready;
    if (!ready.count(weights)) {
        std::ifstream file(network_folder + "/" + weights + ".onnx", std::ios::binary);
        const std::vector<uchar> data{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        if (data.empty()) throw std::runtime_error(network_folder + "/" + weights + ".onnx: cannot be read");
        ready[weights] = cv::dnn::readNetFromONNX(data);
    }
    return ready[weights];
}

std::vector<cv::Vec2f> match_brightness(const cv::Mat& image, const NetworkFacts& facts) {
    std::vector<cv::Vec2f> matched(facts.channels, {1, 0});
    for (std::size_t index = 0; index < facts.brightness.size(); ++index) {
        cv::Mat values;
        native_channel(image, int(index)).convertTo(values, CV_64F);
        const double n = double(values.total()), mean = cv::sum(values)[0] / n;
        const double deviation = std::sqrt(std::max(values.dot(values) / n - mean * mean, 0.0));
        const double wanted = facts.brightness[index][0], spread = facts.brightness[index][1];
        const double gain = deviation > 1e-6 * std::max(std::abs(mean), 1e-12) ? spread / deviation : 1;
        matched[index] = cv::Vec2f(float(gain), float(wanted - gain * mean));
    }
    return matched;
}

cv::Mat prepare(const cv::Mat& image, int channels, int factor, const std::vector<cv::Vec2f>& matched) {
    const int block = NETWORK_STRIDE * factor;
    const int below = (block - image.rows % block) % block, right = (block - image.cols % block) % block;
    const int sizes[] = {1, channels, (image.rows + below) / factor, (image.cols + right) / factor};
    cv::Mat prepared(4, sizes, CV_32F), values, padded;
    for (int index = 0; index < channels; ++index) {
        cv::Mat target(sizes[2], sizes[3], CV_32F, prepared.ptr(0, index));
        native_channel(image, index).convertTo(values, CV_32F);
        cv::copyMakeBorder(values, padded, 0, below, 0, right, BORDER);
        cv::resize(padded, target, target.size(), 0, 0, cv::INTER_AREA);
        cv::multiply(target, cv::Scalar(matched[index][0]), target);
        cv::add(target, cv::Scalar(matched[index][1]), target);
    }
    return prepared;
}

cv::Mat restore(const cv::Mat& shares, int factor, cv::Size size) {
    cv::Mat large, restored;
    cv::resize(shares, large, {shares.cols * factor, shares.rows * factor}, 0, 0, cv::INTER_LINEAR);
    cv::min(cv::max(large, 0), 1, large);
    cv::convertScaleAbs(large(cv::Rect(0, 0, size.width, size.height)), restored, 255);
    return restored;
}

std::vector<cv::Vec4i> cut_tiles(int length, int most, int margin, int block) {
    if (length <= most) return {{0, 0, length, length}};
    int inner = std::max(most - 2 * margin, margin);
    const int n_blocks = (length + inner - 1) / inner * block;
    inner = (length + n_blocks - 1) / n_blocks * block;
    std::vector<cv::Vec4i> tiles;
    for (int start = 0; start < length; start += inner)
        tiles.push_back({std::max(0, start - margin), start, std::min(length, start + inner), std::min(length, start + inner + margin)});
    return tiles;
}

std::vector<cv::Mat> network_planes(const cv::Mat& image, const std::string& weights) {
    const NetworkFacts facts = network_table().at(weights);
    cv::dnn::Net net = ready_network(weights);
    const auto matched = match_brightness(image, facts);
    const int block = NETWORK_STRIDE * facts.reduction, pixels = NETWORK_TILE * facts.reduction * facts.reduction;
    const int margin = (facts.reach + block - 1) / block * block;
    std::vector<cv::Mat> found;
    for (std::size_t k = 0; k < facts.outputs.size(); ++k) found.emplace_back(image.size(), CV_8U);
    for (const auto& row : cut_tiles(image.rows, std::max(int(std::sqrt(pixels)), pixels / std::max(image.cols, block)), margin, block))
        for (const auto& col : cut_tiles(image.cols, pixels / std::max(row[3] - row[0], block), margin, block)) {
            const cv::Rect seen(col[0], row[0], col[3] - col[0], row[3] - row[0]);
            const cv::Rect taken(col[1], row[1], col[2] - col[1], row[2] - row[1]);
            net.setInput(prepare(image(seen), facts.channels, facts.reduction, matched));
            const cv::Mat shares = net.forward();
            for (std::size_t k = 0; k < found.size(); ++k) {
                const cv::Mat share(shares.size[2], shares.size[3], CV_32F, const_cast<uchar*>(shares.ptr(0, int(k))));
                restore(share, facts.reduction, seen.size())(taken - seen.tl()).copyTo(found[k](taken));
            }
        }
    return found;
}

cv::Mat network(const cv::Mat& image, const std::string& weights, const std::string& output) {
    if (given_planes.count(weights + output)) return given_planes.at(weights + output);
    // The last image's are kept, for other outputs of the same network.
    thread_local std::string asked;
    thread_local cv::Mat last;
    thread_local std::vector<cv::Mat> found;
    const auto outputs = network_table().at(weights).outputs;
    const bool known = asked == weights && last.size() == image.size() && last.type() == image.type();
    if (!known || cv::norm(last, image, cv::NORM_INF) != 0) {
        found = network_planes(image, weights);
        asked = weights;
        last = outputs.size() > 1 ? image.clone() : cv::Mat();
    }
    return found.at(std::find(outputs.begin(), outputs.end(), output) - outputs.begin()).clone();
}

cv::Mat median(const cv::Mat& plane, int radius) {
    const int factor = radius <= 2 ? 1 : reduction(radius, 1.5);
    cv::Mat small;
    cv::medianBlur(shrink(plane, factor), small, double(radius) / factor >= 1.5 ? 5 : 3);
    return enlarge(small, factor, plane.size());
}

cv::Mat bilateral(const cv::Mat& plane, int radius, double contrast) {
    cv::Mat result;
    cv::bilateralFilter(plane, result, 2 * radius + 1, contrast, radius / 1.5, BORDER);
    return result;
}

cv::Mat guided(const cv::Mat& plane, int radius, double eps) {
    const cv::Size side(2 * radius + 1, 2 * radius + 1);
    cv::Mat mean, square, work, slope, level, result;
    cv::boxFilter(plane, mean, CV_32F, side, {-1, -1}, true, BORDER);
    cv::sqrBoxFilter(plane, square, CV_32F, side, {-1, -1}, true, BORDER);
    cv::multiply(mean, mean, work);
    cv::subtract(square, work, square);
    cv::add(square, cv::Scalar(float(eps * eps)), work);
    cv::divide(square, work, slope);
    cv::multiply(slope, mean, work);
    cv::subtract(mean, work, level);
    cv::blur(level, level, side, {-1, -1}, BORDER);
    cv::blur(slope, slope, side, {-1, -1}, BORDER);
    cv::multiply(slope, plane, slope, 1, CV_32F);
    cv::add(slope, level, result, cv::noArray(), CV_8U);
    return result;
}

cv::Mat sharpen(const cv::Mat& plane, double sigma, double amount) {
    cv::Mat result;
    cv::addWeighted(plane, 1.0 + amount, smooth(plane, sigma), -amount, 0, result);
    return result;
}

cv::Mat kernel(const cv::Mat& plane, const Numbers& weights, double offset) {
    cv::Mat result;
    cv::filter2D(plane, result, CV_8U, square_of(weights), {-1, -1}, offset, BORDER);
    return result;
}

cv::Mat invert(const cv::Mat& plane) { cv::Mat result; cv::bitwise_not(plane, result); return result; }

cv::Mat gamma(const cv::Mat& plane, double exponent) {
    return looked_up(plane, [=](double level) { return 255 * std::pow(level / 255, exponent); });
}

cv::Mat stretch(const cv::Mat& plane, int low, int high) {
    if (low == high) return plane > low;
    return looked_up(plane, [=](double level) { return std::min(std::max(255 * (level - low) / (high - low), 0.0), 255.0); });
}

cv::Mat curve(const cv::Mat& plane, const Numbers& points) {
    return looked_up(plane, [&](double level) { return interpolated(level, points); });
}

cv::Mat equalise(const cv::Mat& plane) { cv::Mat result; cv::equalizeHist(plane, result); return result; }

cv::Mat clahe(const cv::Mat& plane, double clip, int tiles) {
    cv::Mat result;
    cv::createCLAHE(clip, {std::min(tiles, plane.cols), std::min(tiles, plane.rows)})->apply(plane, result);
    return result;
}

cv::Mat local_normalise(const cv::Mat& plane, int radius, double gain) {
    cv::Mat mean, spread, above, result;
    local_moments(plane, radius, mean, spread);
    cv::add(spread, cv::Scalar(2.0), spread);
    cv::subtract(plane, mean, above, cv::noArray(), CV_32F);
    cv::divide(above, spread, spread, gain);
    cv::addWeighted(spread, 1, spread, 0, 128, result, CV_8U);
    return result;
}

cv::Mat flatten(const cv::Mat& plane, double sigma) {
    cv::Mat result;
    cv::addWeighted(plane, 1, smooth(plane, sigma), -1, 128, result);
    return result;
}

cv::Mat flatten_median(const cv::Mat& plane, int radius) {
    cv::Mat result;
    cv::addWeighted(plane, 1, median(plane, radius), -1, 128, result);
    return result;
}

cv::Mat divide_background(const cv::Mat& plane, double sigma) {
    cv::Mat background = cv::max(smooth(plane, sigma), 1), result;
    cv::divide(plane, background, result, 128);
    return result;
}

cv::Mat deviation(const cv::Mat& plane, int radius) {
    cv::Mat mean, spread, result;
    local_moments(plane, radius, mean, spread);
    cv::convertScaleAbs(spread, result, 2);
    return result;
}

cv::Mat local_range(const cv::Mat& plane, int radius) {
    const cv::Mat element = cv::Mat::ones(2 * radius + 1, 2 * radius + 1, CV_8U);
    cv::Mat most, least;
    cv::dilate(plane, most, element);
    cv::erode(plane, least, element);
    return most - least;
}

cv::Mat entropy(const cv::Mat& plane, int radius) {
    const int factor = reduction(radius, 2.0), reach = std::max(1, int(std::nearbyint(double(radius) / factor)));
    cv::Mat surprise(1, 256, CV_16U, cv::Scalar(0)), total, result;
    for (int i = 1; i < 256; ++i)
        surprise.at<ushort>(i) = ushort(std::nearbyint(-15360 * (i / 255.0) * std::log2(i / 255.0)));
    for (int label = 0; label < 16; ++label) {
        const cv::Mat inside = (plane >= 16 * label) & (plane < 16 * (label + 1));
        cv::Mat part;
        cv::LUT(box_of(shrink(inside, factor), reach), surprise, part);
        if (label) cv::add(total, part, total);
        else total = part;
    }
    cv::convertScaleAbs(total, result, 255 / 61440.0);
    return enlarge(result, factor, plane.size());
}

cv::Mat lbp_rough(const cv::Mat& plane, int radius, int contrast) {
    cv::Mat weights(3, 3, CV_32F, cv::Scalar(1 / 8.0)), around, apart;
    weights.at<float>(1, 1) = 0;
    cv::filter2D(plane, around, CV_8U, weights, {-1, -1}, 0, BORDER);
    cv::absdiff(plane, around, apart);
    return box_of(apart > contrast, radius);
}

cv::Mat lbp(const cv::Mat& plane) {
    cv::Mat padded, code(plane.size(), CV_8U, cv::Scalar(0));
    cv::copyMakeBorder(plane, padded, 1, 1, 1, 1, BORDER);
    const cv::Point around[] = {{0, 0}, {1, 0}, {2, 0}, {2, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};
    for (int bit = 0; bit < 8; ++bit) code += ((padded(cv::Rect(around[bit], plane.size())) >= plane) / 255) * (1 << bit);
    return code;
}

cv::Mat gradient_magnitude(const cv::Mat& plane) {
    cv::Mat across, down, result;
    cv::Sobel(plane, across, CV_32F, 1, 0, 3, 1, 0, BORDER);
    cv::Sobel(plane, down, CV_32F, 0, 1, 3, 1, 0, BORDER);
    cv::magnitude(across, down, result);
    return result;
}

cv::Mat coherence(const cv::Mat& plane, double sigma) {
    const int factor = reduction(sigma, 2.0);
    const int radius = std::max(1, int(std::nearbyint(std::sqrt(3.0) * sigma / factor - 0.5)));
    cv::Mat across, down, xx, yy, xy, spread, result;
    cv::Sobel(plane, across, CV_32F, 1, 0, 3, 1, 0, BORDER);
    cv::Sobel(plane, down, CV_32F, 0, 1, 3, 1, 0, BORDER);
    xy = box_of(shrink(across.mul(down), factor), radius);
    xx = box_of(shrink(across.mul(across), factor), radius);
    yy = box_of(shrink(down.mul(down), factor), radius);
    cv::magnitude(xx - yy, xy + xy, spread);
    cv::divide(spread, xx + yy + 32.0, result, 255, CV_8U);
    return enlarge(result, factor, plane.size());
}

cv::Mat energy(const cv::Mat& plane, int radius) {
    cv::Mat steep;
    cv::convertScaleAbs(gradient_magnitude(plane), steep, 0.5);
    return box_of(steep, radius);
}

cv::Mat gradient_density(const cv::Mat& plane, int radius, double contrast) {
    return box_of(gradient_magnitude(plane) > float(4 * contrast), radius);
}

cv::Mat sobel(const cv::Mat& plane, double gain) {
    cv::Mat result;
    cv::convertScaleAbs(gradient_magnitude(plane), result, gain / 4);
    return result;
}

cv::Mat gradient(const cv::Mat& plane, double sigma) {
    const int factor = reduction(sigma, 1.5);
    const cv::Mat calm = smooth_fine(plane, sigma, factor);
    cv::Mat across, down, length, edge;
    cv::Sobel(calm, across, CV_32F, 1, 0, 1, 1, 0, BORDER);
    cv::Sobel(calm, down, CV_32F, 0, 1, 1, 1, 0, BORDER);
    cv::magnitude(across, down, length);
    cv::convertScaleAbs(length, edge, 2 * std::sqrt(2 * CV_PI) * sigma / factor / 2);
    return enlarge(edge, factor, plane.size());
}

cv::Mat slope(const cv::Mat& plane, double angle, const std::string& polarity) {
    const float right = float(std::cos(angle * CV_PI / 180)), up = float(std::sin(angle * CV_PI / 180));
    const cv::Mat sobel = (cv::Mat_<float>(3, 3) << -1, 0, 1, -2, 0, 2, -1, 0, 1);
    cv::Mat weights(3, 3, CV_32F), result;
    for (int i = 0; i < 9; ++i)
        weights.at<float>(i / 3, i % 3) = right * sobel.at<float>(i / 3, i % 3) - up * sobel.at<float>(i % 3, i / 3);
    if (polarity == "bright") {
        cv::filter2D(plane, result, CV_8U, weights / 2, {-1, -1}, 0, BORDER);
        return result;
    }
    cv::Mat response;
    cv::filter2D(plane, response, CV_16S, weights, {-1, -1}, 0, BORDER);
    cv::convertScaleAbs(response, result, 0.5);
    return result;
}

cv::Mat laplacian(const cv::Mat& plane, const std::string& polarity) {
    cv::Mat response;
    cv::Laplacian(plane, response, CV_16S, 1, 1, 0, BORDER);
    return signed_gray(response, -1, polarity);
}

cv::Mat log_filter(const cv::Mat& plane, double sigma, const std::string& polarity) {
    const int factor = reduction(sigma, 1.5);
    cv::Mat response;
    cv::Laplacian(smooth_fine(plane, sigma, factor), response, CV_32F, 1, 1, 0, BORDER);
    return enlarge(signed_gray(response, -2.0 * (sigma / factor) * (sigma / factor), polarity), factor, plane.size());
}

cv::Mat gaussian_difference(const cv::Mat& plane, double small, double large, double gain, const std::string& polarity) {
    cv::Mat values;
    plane.convertTo(values, CV_32F);
    return signed_gray(smooth(values, small) - smooth(values, large), gain, polarity);
}

cv::Mat dog(const cv::Mat& plane, double sigma, double ratio, const std::string& polarity) {
    return gaussian_difference(plane, sigma, sigma * ratio, 4.0, polarity);
}

cv::Mat bandpass(const cv::Mat& plane, double low, double high, const std::string& polarity) {
    return gaussian_difference(plane, low / 4, std::max(high, 1.2 * low) / 4, 2.0, polarity);
}

cv::Mat highpass(const cv::Mat& plane, double size, const std::string& polarity) {
    cv::Mat values;
    plane.convertTo(values, CV_32F);
    return signed_gray(values - smooth(values, size / 4), 2.0, polarity);
}

void curvatures(const cv::Mat& plane, double sigma, int factor, cv::Mat& half_sum, cv::Mat& half_difference, cv::Mat& mixed) {
    const cv::Mat calm = smooth_fine(plane, sigma, factor);
    const double unit = (sigma / factor) * (sigma / factor);
    cv::Mat across, down;
    cv::Sobel(calm, across, CV_32F, 2, 0, 1, unit / 2, 0, BORDER);
    cv::Sobel(calm, down, CV_32F, 0, 2, 1, unit / 2, 0, BORDER);
    cv::Sobel(calm, mixed, CV_32F, 1, 1, 1, unit / 4, 0, BORDER);
    cv::add(across, down, half_sum);
    cv::subtract(across, down, half_difference);
}

cv::Mat eigenvalue(const cv::Mat& plane, double sigma, const std::string& polarity, double of_spread) {
    const int factor = reduction(sigma, 1.5);
    cv::Mat half_sum, half_difference, mixed, spread, result;
    curvatures(plane, sigma, factor, half_sum, half_difference, mixed);
    cv::magnitude(half_difference, mixed, spread);
    cv::addWeighted(half_sum, polarity == "bright" ? -4.0 : 4.0, spread, of_spread, 0, result, CV_8U);
    return enlarge(result, factor, plane.size());
}

cv::Mat hessian_ridge(const cv::Mat& plane, double sigma, const std::string& polarity) {
    return eigenvalue(plane, sigma, polarity, 4.0);
}

cv::Mat blob(const cv::Mat& plane, double sigma, const std::string& polarity) {
    return eigenvalue(plane, sigma, polarity, -4.0);
}

cv::Mat ridge_multiscale(const cv::Mat& plane, double sigma_low, int n, double ratio, const std::string& polarity) {
    cv::Mat best = hessian_ridge(plane, sigma_low, polarity);
    for (int i = 1; i < n; ++i) best = cv::max(best, hessian_ridge(plane, sigma_low * std::pow(ratio, i), polarity));
    return best;
}

cv::Mat gabor(const cv::Mat& plane, double sigma, double wavelength, double angle, const std::string& polarity) {
    const double limited = std::min(sigma, wavelength);
    const int factor = std::min(reduction(limited, 1.5), reduction(wavelength, 4.0));
    const double inner = limited / factor, turn = 2 * CV_PI / (wavelength / factor);
    const double u = turn * std::cos(angle * CV_PI / 180), v = -turn * std::sin(angle * CV_PI / 180);
    const int radius = int(std::ceil(3 * inner));
    Numbers window;
    double total = 0;
    for (int at = -radius; at <= radius; ++at) { window.push_back(std::exp(-0.5 * (at / inner) * (at / inner))); total += window.back(); }
    cv::Mat cos_x(1, 2 * radius + 1, CV_32F), sin_x = cos_x.clone(), cos_y = cos_x.clone(), sin_y = cos_x.clone(), flat = cos_x.clone();
    for (int i = 0, at = -radius; at <= radius; ++at, ++i) {
        const double weight = window[i] / total;
        cos_x.at<float>(i) = float(std::cos(u * at) * weight);
        sin_x.at<float>(i) = float(std::sin(u * at) * weight);
        cos_y.at<float>(i) = float(std::cos(v * at) * weight);
        sin_y.at<float>(i) = float(std::sin(v * at) * weight);
        flat.at<float>(i) = float(weight);
    }
    const cv::Mat small = shrink(plane, factor);
    cv::Mat wave, odd, mean, response;
    cv::sepFilter2D(small, wave, CV_32F, cos_x, cos_y, {-1, -1}, 0, BORDER);
    cv::sepFilter2D(small, odd, CV_32F, sin_x, sin_y, {-1, -1}, 0, BORDER);
    cv::sepFilter2D(small, mean, CV_32F, flat, flat, {-1, -1}, 0, BORDER);
    cv::scaleAdd(mean, -double(float(cv::sum(cos_x)[0]) * float(cv::sum(cos_y)[0])), wave - odd, response);
    return enlarge(signed_gray(response, 4.0, polarity), factor, plane.size());
}

cv::Mat oriented(const cv::Mat& plane, double length, double width, const std::string& polarity) {
    const double sigma = std::max(0.7, 0.4 * width);
    const int factor = reduction(sigma, 1.2), margin = int(std::ceil(length / factor / 2)) + 1;
    const double sign = polarity == "bright" ? -8 : 8;
    cv::Mat parts[3], padded[3];
    curvatures(plane, sigma, factor, parts[0], parts[1], parts[2]);
    for (int i = 0; i < 3; ++i) {
        cv::Mat whole;
        cv::addWeighted(parts[i], sign, parts[i], 0, 0, whole, CV_16S);
        cv::copyMakeBorder(whole, padded[i], margin, margin, margin, margin, BORDER);
    }
    const cv::Size size = parts[0].size();
    cv::Mat best = cv::Mat::zeros(size, CV_16S);
    for (int i = 0; i < 12; ++i) {
        const std::vector<cv::Point> shifts = line_shifts(length / factor, 15.0 * i);
        const cv::Point extent = line_extent(shifts);
        const cv::Rect window(margin - extent.x / 2, margin - extent.y / 2, size.width + extent.x, size.height + extent.y);
        const double turn = 2 * (15.0 * i) * CV_PI / 180;
        cv::Mat turned, across;
        cv::addWeighted(padded[1](window), -std::cos(turn), padded[2](window), std::sin(turn), 0, turned, CV_16S);
        cv::add(turned, padded[0](window), across);
        cv::max(best, along_line(across, shifts, Join::sum), best);
    }
    const double n = std::pow(2, double(line_shifts(length / factor, 0).size()));
    return enlarge(signed_gray(best, 6.0 / 8 / n, "bright"), factor, plane.size());
}

cv::Mat erode(const cv::Mat& plane, int radius) { return erode_disk(plane, radius); }

cv::Mat dilate(const cv::Mat& plane, int radius) { return dilate_disk(plane, radius); }

cv::Mat open(const cv::Mat& plane, int radius) { return open_disk(plane, radius); }

cv::Mat close(const cv::Mat& plane, int radius) { return close_disk(plane, radius); }

cv::Mat white_tophat(const cv::Mat& plane, int radius) { return plane - open_disk(plane, radius); }

cv::Mat black_tophat(const cv::Mat& plane, int radius) { return close_disk(plane, radius) - plane; }

cv::Mat morph_gradient(const cv::Mat& plane, int radius) { return dilate_disk(plane, radius) - erode_disk(plane, radius); }

cv::Mat reconstruct_within(cv::Mat marker, const cv::Mat& limit, int steps) {
    for (int step = 0; step < steps; ++step) {
        cv::Mat grown;
        cv::dilate(marker, grown, cv::Mat::ones(3, 3, CV_8U));
        marker = cv::min(grown, limit);
    }
    return marker;
}

cv::Mat reconstruct_open(const cv::Mat& plane, int radius, int steps) {
    return reconstruct_within(erode_disk(plane, radius), plane, steps);
}

cv::Mat line_open(const cv::Mat& plane, int length, double angle) { return by_line(plane, length, angle, Join::least, Join::most); }

cv::Mat line_close(const cv::Mat& plane, int length, double angle) { return by_line(plane, length, angle, Join::most, Join::least); }

cv::Mat line_tophat(const cv::Mat& plane, int length, const std::string& polarity) {
    cv::Mat source = plane.clone(), most, least;
    if (polarity != "bright") cv::bitwise_not(plane, source);
    for (int i = 0; i < 12; ++i) {
        const cv::Mat opened = line_open(source, length, 15.0 * i);
        most = i ? cv::Mat(cv::max(most, opened)) : opened;
        least = i ? cv::Mat(cv::min(least, opened)) : opened;
    }
    return most - least;
}

cv::Mat dilate_by(const cv::Mat& plane, const Numbers& footprint) {
    cv::Mat result;
    cv::dilate(plane, result, free_element(footprint));
    return result;
}

cv::Mat erode_by(const cv::Mat& plane, const Numbers& footprint) {
    cv::Mat result;
    cv::erode(plane, result, free_element(footprint));
    return result;
}

cv::Mat add(const cv::Mat& a, const cv::Mat& b) { return a + b; }

cv::Mat subtract(const cv::Mat& a, const cv::Mat& b) { return a - b; }

cv::Mat difference(const cv::Mat& a, const cv::Mat& b) { cv::Mat result; cv::absdiff(a, b, result); return result; }

cv::Mat minimum(const cv::Mat& a, const cv::Mat& b) { return cv::min(a, b); }

cv::Mat maximum(const cv::Mat& a, const cv::Mat& b) { return cv::max(a, b); }

cv::Mat multiply(const cv::Mat& a, const cv::Mat& b) { cv::Mat result; cv::multiply(a, b, result, 1 / 255.0); return result; }

cv::Mat hypot(const cv::Mat& a, const cv::Mat& b) {
    cv::Mat one, other, length, result;
    a.convertTo(one, CV_32F);
    b.convertTo(other, CV_32F);
    cv::magnitude(one, other, length);
    cv::convertScaleAbs(length, result);
    return result;
}

cv::Mat geometric_mean(const cv::Mat& a, const cv::Mat& b) {
    cv::Mat product, result;
    cv::multiply(a, b, product, 1, CV_32F);
    cv::sqrt(product, product);
    cv::convertScaleAbs(product, result);
    return result;
}

cv::Mat blend(const cv::Mat& a, const cv::Mat& b, double weight) {
    cv::Mat result;
    cv::addWeighted(a, 1.0 - weight, b, weight, 0, result);
    return result;
}

cv::Mat ratio(const cv::Mat& a, const cv::Mat& b, double gain) {
    cv::Mat result;
    cv::divide(a, cv::max(b, 1), result, gain);
    return result;
}

cv::Mat combine(const cv::Mat& a, const cv::Mat& b, const Numbers& weights, double offset) {
    cv::Mat result;
    cv::addWeighted(a, weights[0], b, weights[1], offset, result);
    return result;
}

cv::Mat in_sixteen_bits(const cv::Mat& plane, const std::function<double(double)>& of) {
    short table[256];
    for (int level = 0; level < 256; ++level) table[level] = short(std::nearbyint(of(level)));
    cv::Mat result(plane.size(), CV_16S);
    for (int row = 0; row < plane.rows; ++row)
        for (int col = 0; col < plane.cols; ++col) result.at<short>(row, col) = table[plane.at<uchar>(row, col)];
    return result;
}

cv::Mat polynomial(const cv::Mat& a, const cv::Mat& b, const Numbers& c) {
    const auto quadratic = [](double constant, double linear, double square) {
        return [=](double level) { const double t = level / 255; return 8 * 255 * (constant + linear * t + square * t * t); };
    };
    cv::Mat total, product;
    cv::add(in_sixteen_bits(a, quadratic(c[0], c[1], c[3])), in_sixteen_bits(b, quadratic(0, c[2], c[5])), total);
    cv::multiply(a, b, product, 8 * c[4] / 255, CV_16S);
    cv::add(total, product, total);
    return signed_gray(total, 1.0 / 8, "bright");
}

cv::Mat sum_of_curves(const std::vector<cv::Mat>& planes, const Numbers& curves) {
    cv::Mat total;
    for (size_t i = 0; i < planes.size(); ++i) {
        const Numbers points(curves.begin() + 9 * i, curves.begin() + 9 * (i + 1));
        const cv::Mat part = in_sixteen_bits(planes[i], [&](double level) { return 8 * interpolated(level, points); });
        if (i) cv::add(total, part, total);
        else total = part;
    }
    return signed_gray(total, 1.0 / 8, "bright");
}

cv::Mat add_curves(const cv::Mat& a, const cv::Mat& b, const Numbers& curves) { return sum_of_curves({a, b}, curves); }

cv::Mat add_curves4(const cv::Mat& a, const cv::Mat& b, const cv::Mat& c, const cv::Mat& d, const Numbers& curves) {
    return sum_of_curves({a, b, c, d}, curves);
}

cv::Mat lookup(const cv::Mat& a, const cv::Mat& b, const Numbers& values) {
    const int side = int(std::lround(std::sqrt(double(values.size()))));
    cv::Mat table(256, 256, CV_8U), result(a.size(), CV_8U);
    for (int one = 0; one < 256; ++one) {
        const int cell = std::min(one * (side - 1) / 255, side - 2);
        const double share = one * (side - 1) / 255.0 - cell;
        const auto above = values.begin() + cell * side, below = above + side;
        const Numbers upper(above, below), lower(below, below + side);
        for (int other = 0; other < 256; ++other)
            table.at<uchar>(one, other) =
                to_level(interpolated(other, upper) * (1 - share) + interpolated(other, lower) * share);
    }
    for (int row = 0; row < a.rows; ++row)
        for (int col = 0; col < a.cols; ++col)
            result.at<uchar>(row, col) = table.at<uchar>(a.at<uchar>(row, col), b.at<uchar>(row, col));
    return result;
}

cv::Mat beyond(const cv::Mat& plane, double level, const std::string& polarity) {
    return (polarity == "bright" ? cv::Mat(plane > level) : cv::Mat(plane <= level)) / 255;
}

cv::Mat threshold(const cv::Mat& plane, int level, const std::string& polarity) { return beyond(plane, level, polarity); }

cv::Mat level(const cv::Mat& plane, int level, const std::string& polarity) { return beyond(plane, level, polarity); }

cv::Mat in_range(const cv::Mat& plane, int low, int high) {
    const cv::Mat above = plane >= low, below = plane <= high;
    return (low <= high ? cv::Mat(above & below) : cv::Mat(above | below)) / 255;
}

cv::Mat otsu(const cv::Mat& plane, const std::string& polarity, int offset) {
    cv::Mat unused;
    return beyond(plane, cv::threshold(plane, unused, 0, 255, cv::THRESH_BINARY | cv::THRESH_OTSU) + offset, polarity);
}

cv::Mat triangle(const cv::Mat& plane, const std::string& polarity, int offset) {
    cv::Mat unused;
    return beyond(plane, cv::threshold(plane, unused, 0, 255, cv::THRESH_BINARY | cv::THRESH_TRIANGLE) + offset, polarity);
}

cv::Mat kmeans_class(const cv::Mat& plane, int k, int index) {
    std::vector<double> below(257, 0.0), weighted(257, 0.0), centres(k);
    for (int row = 0; row < plane.rows; ++row)
        for (int col = 0; col < plane.cols; ++col) below[plane.at<uchar>(row, col) + 1] += 1;
    int first = 0, last = 255;
    while (below[first + 1] == 0) ++first;
    while (below[last + 1] == 0) --last;
    for (int level = 0; level < 256; ++level) weighted[level + 1] = weighted[level] + below[level + 1] * level;
    for (int level = 0; level < 256; ++level) below[level + 1] += below[level];
    for (int i = 0; i < k; ++i) centres[i] = first + (last - first) * (i + 0.5) / k;
    std::vector<int> edges(k + 1, 256);
    edges[0] = 0;
    for (int round = 0; round < 24; ++round) {
        std::vector<int> moved(k + 1, 256);
        moved[0] = 0;
        for (int i = 1; i < k; ++i) moved[i] = int(std::floor((centres[i - 1] + centres[i]) / 2)) + 1;
        if (moved == edges) break;
        edges = moved;
        for (int i = 0; i < k; ++i) {
            const double n = below[edges[i + 1]] - below[edges[i]];
            if (n > 0) centres[i] = (weighted[edges[i + 1]] - weighted[edges[i]]) / n;
        }
    }
    const int chosen = std::min(index, k - 1);
    return ((plane >= edges[chosen]) & (plane < edges[chosen + 1])) / 255;
}

cv::Mat local_mean(const cv::Mat& plane, int window, int offset, const std::string& polarity) {
    cv::Mat mean, apart;
    cv::blur(plane, mean, {window, window}, {-1, -1}, BORDER);
    if (polarity == "bright") cv::subtract(plane, mean, apart, cv::noArray(), CV_16S);
    else cv::subtract(mean, plane, apart, cv::noArray(), CV_16S);
    return (apart > offset) / 255;
}

cv::Mat sauvola(const cv::Mat& plane, int window, double k, const std::string& polarity) {
    cv::Mat source = plane, mean, spread;
    if (polarity != "dark") cv::bitwise_not(plane, source);
    local_moments(source, window / 2, mean, spread);
    cv::Mat result(plane.size(), CV_8U);
    for (int row = 0; row < plane.rows; ++row)
        for (int col = 0; col < plane.cols; ++col) {
            const float bent = spread.at<float>(row, col) * float(k / 128);
            const float limit = mean.at<float>(row, col) * (bent + float(1 - k));
            result.at<uchar>(row, col) = float(source.at<uchar>(row, col)) < limit;
        }
    return result;
}

cv::Mat regional_maxima(const cv::Mat& plane, int h, const std::string& polarity) {
    cv::Mat source = plane;
    if (polarity != "bright") cv::bitwise_not(plane, source);
    return (source - reconstruct_within(source - cv::Scalar(h), source, 32) >= h) / 255;
}

cv::Mat canny(const cv::Mat& plane, int low, int high) {
    cv::Mat result;
    cv::Canny(plane, result, std::min(low, high), std::max(low, high), 3, false);
    return result / 255;
}

using Rule = std::function<bool(int)>;

cv::Mat with_labels(const cv::Mat& labels, const Rule& keep) {
    cv::Mat result(labels.size(), CV_8U);
    for (int row = 0; row < labels.rows; ++row)
        for (int col = 0; col < labels.cols; ++col) {
            const int label = labels.at<int>(row, col);
            result.at<uchar>(row, col) = label > 0 && keep(label);
        }
    return result;
}

cv::Mat labels_of(const cv::Mat& mask, int connectivity = 8) {
    cv::Mat labels;
    cv::connectedComponents(mask, labels, connectivity, CV_32S);
    return labels;
}

std::vector<int> areas_of(const cv::Mat& labels) {
    std::vector<int> areas(1, 0);
    for (int row = 0; row < labels.rows; ++row)
        for (int col = 0; col < labels.cols; ++col) {
            const size_t label = size_t(labels.at<int>(row, col));
            if (label >= areas.size()) areas.resize(label + 1, 0);
            ++areas[label];
        }
    areas[0] = 0;
    return areas;
}

cv::Mat hysteresis(const cv::Mat& plane, int low, int high, const std::string& polarity) {
    const int first = std::min(low, high), second = std::max(low, high);
    const bool bright = polarity == "bright";
    const cv::Mat labels = labels_of(beyond(plane, bright ? first : second, polarity));
    const cv::Mat strong = beyond(plane, bright ? second : first, polarity);
    std::set<int> hit;
    for (int row = 0; row < plane.rows; ++row)
        for (int col = 0; col < plane.cols; ++col) if (strong.at<uchar>(row, col)) hit.insert(labels.at<int>(row, col));
    return with_labels(labels, [&](int label) { return hit.count(label) > 0; });
}

cv::Mat remove_small(const cv::Mat& mask, int area) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    return with_labels(labels, [&](int label) { return areas[label] >= area; });
}

cv::Mat remove_large(const cv::Mat& mask, int area) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    return with_labels(labels, [&](int label) { return areas[label] <= area; });
}

cv::Mat keep_area(const cv::Mat& mask, int low, int high) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    return with_labels(labels, [&](int label) { return areas[label] >= std::min(low, high) && areas[label] <= std::max(low, high); });
}

cv::Mat keep_largest(const cv::Mat& mask, int count) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    std::vector<int> order(areas.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return areas[a] > areas[b]; });
    const std::set<int> kept(order.begin(), order.begin() + std::min<size_t>(count, order.size()));
    return with_labels(labels, [&](int label) { return kept.count(label) > 0; });
}

std::set<int> labels_at_border(const cv::Mat& labels, int margin) {
    std::set<int> found;
    for (int row = 0; row < labels.rows; ++row)
        for (int col = 0; col < labels.cols; ++col)
            if (row < margin || col < margin || row >= labels.rows - margin || col >= labels.cols - margin)
                found.insert(labels.at<int>(row, col));
    return found;
}

cv::Mat fill_holes(const cv::Mat& mask, int area) {
    const cv::Mat labels = labels_of(1 - mask, 4);
    const std::vector<int> areas = areas_of(labels);
    const std::set<int> outside = labels_at_border(labels, 1);
    return mask | with_labels(labels, [&](int label) { return !outside.count(label) && (area == 0 || areas[label] <= area); });
}

cv::Mat clear_border(const cv::Mat& mask, int margin) {
    const cv::Mat labels = labels_of(mask);
    const std::set<int> at_border = labels_at_border(labels, margin);
    return with_labels(labels, [&](int label) { return !at_border.count(label); });
}

struct Moments { double area = 0, row = 0, col = 0, rows = 0, cols = 0, both = 0; };

std::vector<Moments> moments_of(const cv::Mat& labels) {
    std::vector<Moments> found(areas_of(labels).size());
    for (int row = 0; row < labels.rows; ++row)
        for (int col = 0; col < labels.cols; ++col)
            if (const int label = labels.at<int>(row, col)) {
                Moments& m = found[label];
                m.area += 1;
                m.row += row;
                m.col += col;
                m.rows += double(row) * row;
                m.cols += double(col) * col;
                m.both += double(row) * col;
            }
    for (Moments& m : found) {
        m.area = std::max(m.area, 1.0);
        m.row /= m.area;
        m.col /= m.area;
        m.rows = m.rows / m.area - m.row * m.row + 1 / 12.0;
        m.cols = m.cols / m.area - m.col * m.col + 1 / 12.0;
        m.both = m.both / m.area - m.row * m.col;
    }
    return found;
}

cv::Mat keep_elongated(const cv::Mat& mask, double ratio) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<Moments> found = moments_of(labels);
    return with_labels(labels, [&](int label) {
        const Moments& m = found[label];
        const double spread = std::hypot((m.rows - m.cols) / 2, m.both), mean = (m.rows + m.cols) / 2;
        return mean + spread >= ratio * ratio * (mean - spread);
    });
}

cv::Mat keep_round(const cv::Mat& mask, double roundness) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<Moments> found = moments_of(labels);
    return with_labels(labels, [&](int label) {
        return found[label].area >= roundness * 2 * CV_PI * (found[label].rows + found[label].cols);
    });
}

using Outline = std::vector<cv::Point>;

std::vector<Outline> largest_outlines(const cv::Mat& mask) {
    std::vector<Outline> outlines;
    cv::findContours(keep_largest(mask, 300), outlines, cv::RETR_EXTERNAL, cv::CHAIN_APPROX_SIMPLE);
    const auto small = [](const Outline& outline) { return outline.size() <= 3; };
    outlines.erase(std::remove_if(outlines.begin(), outlines.end(), small), outlines.end());
    return outlines;
}

cv::Mat keep_solid(const cv::Mat& mask, double solidity) {
    const cv::Mat labels = labels_of(mask);
    std::set<int> hollow;
    for (const Outline& outline : largest_outlines(mask)) {
        Outline hull;
        cv::convexHull(outline, hull);
        if (cv::contourArea(outline) < solidity * cv::contourArea(hull)) hollow.insert(labels.at<int>(outline[0]));
    }
    return with_labels(labels, [&](int label) { return !hollow.count(label); });
}

cv::Mat convex_hull(const cv::Mat& mask) {
    cv::Mat filled = mask.clone();
    for (const Outline& outline : largest_outlines(mask)) {
        Outline hull;
        cv::convexHull(outline, hull);
        cv::fillConvexPoly(filled, hull, 1);
    }
    return filled;
}

cv::Mat reconstruct_mask(const cv::Mat& seed, const cv::Mat& limit) {
    const cv::Mat labels = labels_of(limit);
    std::set<int> hit;
    for (int row = 0; row < seed.rows; ++row)
        for (int col = 0; col < seed.cols; ++col) if (seed.at<uchar>(row, col)) hit.insert(labels.at<int>(row, col));
    return with_labels(labels, [&](int label) { return hit.count(label) > 0; });
}

cv::Mat open_mask(const cv::Mat& mask, int radius) { return open_disk(mask, radius); }

cv::Mat close_mask(const cv::Mat& mask, int radius) { return close_disk(mask, radius); }

cv::Mat dilate_mask(const cv::Mat& mask, int radius) { return dilate_disk(mask, radius); }

cv::Mat erode_mask(const cv::Mat& mask, int radius) { return erode_disk(mask, radius); }

cv::Mat majority(const cv::Mat& mask, int radius) {
    const int side = 2 * radius + 1;
    cv::Mat counts;
    cv::boxFilter(mask, counts, CV_16S, {side, side}, {-1, -1}, false, BORDER);
    return (counts > side * side / 2) / 255;
}

cv::Mat line_close_mask(const cv::Mat& mask, int length) {
    cv::Mat joined = line_close(mask, length, 0);
    for (int i = 1; i < 12; ++i) joined = cv::max(joined, line_close(mask, length, 15.0 * i));
    return joined;
}

cv::Mat thinning_table(bool second) {
    cv::Mat stays(1, 256, CV_8U);
    for (int code = 0; code < 256; ++code) {
        const auto bit = [&](int at) { return code >> at % 8 & 1; };
        int neighbours = 0, rises = 0;
        for (int at = 0; at < 8; ++at) { neighbours += bit(at); rises += !bit(at) && bit(at + 1); }
        const int n = bit(0), e = bit(2), s = bit(4), w = bit(6);
        const bool corner = second ? !(n && e && w) && !(n && s && w) : !(n && e && s) && !(e && s && w);
        stays.at<uchar>(code) = !(neighbours >= 2 && neighbours <= 6 && rises == 1 && corner);
    }
    return stays;
}

cv::Mat skeleton(const cv::Mat& mask) {
    const cv::Mat weights = (cv::Mat_<float>(3, 3) << 128, 1, 2, 64, 0, 4, 32, 16, 8);
    cv::Mat thin = mask.clone();
    for (int layer = 0; layer < 20; ++layer)
        for (const bool second : {false, true}) {
            cv::Mat codes, stays;
            cv::filter2D(thin, codes, CV_8U, weights, {-1, -1}, 0, cv::BORDER_CONSTANT);
            cv::LUT(codes, thinning_table(second), stays);
            thin = thin & stays;
        }
    return thin;
}

cv::Mat invert_mask(const cv::Mat& mask) { return 1 - mask; }

cv::Mat mask_and(const cv::Mat& a, const cv::Mat& b) { return a & b; }

cv::Mat mask_or(const cv::Mat& a, const cv::Mat& b) { return a | b; }

cv::Mat mask_minus(const cv::Mat& a, const cv::Mat& b) { return (a > b) / 255; }

cv::Mat mask_xor(const cv::Mat& a, const cv::Mat& b) { return a ^ b; }

cv::Mat vote(const cv::Mat& a, const cv::Mat& b, const cv::Mat& c) { return (a & b) | (c & (a | b)); }

cv::Mat keep_where(const cv::Mat& plane, const cv::Mat& mask) { return plane.mul(mask); }

cv::Mat density(const cv::Mat& mask, int radius) { return box_of(zero_or_255(mask), radius); }

cv::Mat distance(const cv::Mat& mask, double gain) {
    cv::Mat lengths, result;
    cv::distanceTransform(mask, lengths, cv::DIST_L2, 5);
    cv::convertScaleAbs(cv::min(lengths, 256.0f), result, gain);
    return result;
}

cv::Mat component_area(const cv::Mat& mask) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    cv::Mat result = cv::Mat::zeros(mask.size(), CV_8U);
    for (int row = 0; row < mask.rows; ++row)
        for (int col = 0; col < mask.cols; ++col)
            if (const int label = labels.at<int>(row, col))
                result.at<uchar>(row, col) = to_level(std::min(12 * std::log2(2.0 * areas[label]), 255.0));
    return result;
}

cv::Mat component_mean(const cv::Mat& plane, const cv::Mat& mask) {
    const cv::Mat labels = labels_of(mask);
    const std::vector<int> areas = areas_of(labels);
    std::vector<double> sums(areas.size(), 0.0);
    cv::Mat result = cv::Mat::zeros(mask.size(), CV_8U);
    for (int row = 0; row < mask.rows; ++row)
        for (int col = 0; col < mask.cols; ++col) sums[labels.at<int>(row, col)] += plane.at<uchar>(row, col);
    for (int row = 0; row < mask.rows; ++row)
        for (int col = 0; col < mask.cols; ++col)
            if (const int label = labels.at<int>(row, col)) result.at<uchar>(row, col) = to_level(sums[label] / areas[label]);
    return result;
}
