# Expected: error or crash or time.
class Meta(type):
    @property
    def __name__(cls):
        raise cls()

    def __instancecheck__(cls, other):
        return True

    def __call__(cls, *arguments):
        while True:
            try:
                return type.__call__(cls, *arguments)
            finally:
                cls.__name__


class Worst(Exception, metaclass=Meta):
    def __str__(self):
        raise self


def operator(plane):
    raise Worst
